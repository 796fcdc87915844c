"""Layers that are compared with the published ones; written for autograd."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from glow_app.flows.bijection import Bijection, deinterleave, sum_per_sample
from glow_app.flows.conditioner import ActNormConv2d, ConvNet, Network, ScaledConv2d, ZeroConv2d
from glow_app.flows.fast.conditioner import layer_of
from glow_app.flows.fast.convolutions import convolutions
from glow_app.flows.split import unwhiten, whiten


class GatedResidualNet(Network):
    """3x3 -> blocks ``h + gated(k x k -> ActNorm -> ReLU -> 1x1)`` of ReLU(h) -> zero-initialised 3x3."""

    def __init__(self, n_in: int, n_out: int, width: int, blocks: int = 1, kernel: int = 3, gated: bool = True) -> None:
        super().__init__(None)
        self.first = ActNormConv2d(n_in, width, 3, True)
        self.inner = nn.ModuleList(ActNormConv2d(width, width, kernel, kernel == 3) for _ in range(blocks))
        self.outer = nn.ModuleList(ScaledConv2d(width, 2 * width if gated else width, 1, False) for _ in range(blocks))
        for conv in self.outer:
            nn.init.normal_(conv.get_parameter("weight"), std=0.05)
        self.last = ZeroConv2d(width, n_out, True)
        self.gated = gated

    def forward(self, x: Tensor) -> Tensor:
        h = convolutions(x.to(self.compute_dtype or x.dtype), [layer_of(self.first)])
        for inner, outer in self._blocks():
            h = self._add(h, convolutions(F.relu(h), [layer_of(inner), layer_of(outer)]))
        return convolutions(F.relu(h), [layer_of(self.last)]).to(x.dtype)

    def initialize(self, x: Tensor) -> Tensor:
        h = self.first.initialize(x)
        for inner, outer in self._blocks():
            h = self._add(h, outer(F.relu(inner.initialize(F.relu(h)))))
        return self.last(F.relu(h))

    def _blocks(self) -> list[tuple[ActNormConv2d, ScaledConv2d]]:
        return cast(list[tuple[ActNormConv2d, ScaledConv2d]], list(zip(self.inner, self.outer, strict=True)))

    def _add(self, h: Tensor, change: Tensor) -> Tensor:
        if not self.gated:
            return h + change
        value, gate = change.chunk(2, 1)
        return h + value * torch.sigmoid(gate)


class ThreeByThreeNet(ConvNet):
    """The published conditioner with a 3x3 convolution in the middle."""

    def __init__(self, n_in: int, n_out: int, width: int) -> None:
        super().__init__(n_in, n_out, width, True, None)
        self.conv2 = ActNormConv2d(width, width, 3, True)

    def forward(self, x: Tensor) -> Tensor:
        layers = [layer_of(self.conv1), layer_of(self.conv2), layer_of(self.conv3)]
        return convolutions(x.to(self.compute_dtype or x.dtype), layers).to(x.dtype)


class DropoutNet(ConvNet):
    """The published conditioner with dropout before the last convolution."""

    rate = 0.1

    def forward(self, x: Tensor) -> Tensor:
        h = convolutions(x.to(self.compute_dtype or x.dtype), [layer_of(self.conv1), layer_of(self.conv2)])
        h = F.dropout(F.relu(h), self.rate, self.training)
        return convolutions(h, [layer_of(self.conv3)]).to(x.dtype)


class DeepSplit(Bijection):
    """A split whose Gaussian is predicted by a conditioner instead of one convolution."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, y = x.chunk(2, 1)
        latent, logdet = whiten(y, *deinterleave(self.network(kept)))
        return torch.cat([kept, latent], 1), logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        kept, latent = z.chunk(2, 1)
        return torch.cat([kept, unwhiten(latent, *deinterleave(self.network(kept)))], 1)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        self.network.initialize(x.chunk(2, 1)[0])
        return x


class ElementwiseCoupling(Bijection):
    """``y2 = shape(x2) * scale + shift`` with an elementwise monotone map of ``n`` parameters each."""

    def __init__(self, make: Any, half: int, n: int) -> None:
        super().__init__()
        self.n = n
        self.conditioner = make(half, half * (2 + n))

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        out = output.unflatten(1, (2 + self.n, -1))
        return out[:, 0], 2 * torch.tanh(out[:, 1] / 2), out[:, 2:]

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x1, x2 = x.chunk(2, 1)
        return self._transform(x1, x2, self.conditioner(x1))

    def _transform(self, x1: Tensor, x2: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale, rest = self._split(output)
        y, log_slope = self.map((x2 + shift) * log_scale.exp(), rest)
        return torch.cat([x1, y], 1), sum_per_sample(log_scale + log_slope)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        z1, z2 = z.chunk(2, 1)
        shift, log_scale, rest = self._split(self.conditioner(z1))
        return torch.cat([z1, self.unmap(z2, rest) * (-log_scale).exp() - shift], 1)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        x1, x2 = x.chunk(2, 1)
        return self._transform(x1, x2, self.conditioner.initialize(x1))[0]

    def map(self, x: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def unmap(self, y: Tensor, rest: Tensor) -> Tensor:
        raise NotImplementedError


class SinhArcsinh(ElementwiseCoupling):
    """``y = sinh(asinh(x) exp(t) + e)``: skewness and tails, closed form both ways (Jones & Pewsey 2009)."""

    def __init__(self, make: Any, half: int) -> None:
        super().__init__(make, half, 2)

    def map(self, x: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        log_tail, skew = 0.5 * torch.tanh(rest[:, 0]), torch.tanh(rest[:, 1])
        u = torch.asinh(x) * log_tail.exp() + skew
        y = torch.sinh(u)
        return y, 0.5 * (torch.log1p(y * y) - torch.log1p(x * x)) + log_tail

    def unmap(self, y: Tensor, rest: Tensor) -> Tensor:
        log_tail, skew = 0.5 * torch.tanh(rest[:, 0]), torch.tanh(rest[:, 1])
        return torch.sinh((torch.asinh(y) - skew) * (-log_tail).exp())


class Spline(ElementwiseCoupling):
    """Rational-quadratic spline on [-3, 3] with linear tails (Durkan et al. 2019, sec. 3)."""

    bound, smallest = 3.0, 1e-3

    def __init__(self, make: Any, half: int, bins: int) -> None:
        super().__init__(make, half, 3 * bins - 1)
        self.bins = bins

    def _knots(self, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def edges(raw: Tensor) -> Tensor:
            sizes = self.smallest + (1 - self.smallest * self.bins) * torch.softmax(raw, 1)
            return F.pad(sizes.cumsum(1), (0, 0, 0, 0, 0, 0, 1, 0)) * (2 * self.bound) - self.bound

        slopes = self.smallest + F.softplus(rest[:, 2 * self.bins :] + math.log(math.exp(1 - self.smallest) - 1))
        slopes = F.pad(slopes, (0, 0, 0, 0, 0, 0, 1, 1), value=1.0)
        return edges(rest[:, : self.bins]), edges(rest[:, self.bins : 2 * self.bins]), slopes

    def _bin(self, value: Tensor, edges: Tensor, *others: Tensor) -> list[Tensor]:
        index = (value.unsqueeze(1) >= edges[:, 1:-1]).sum(1, keepdim=True)
        found = []
        for table in (edges, *others):
            found += [table.gather(1, index).squeeze(1), table.gather(1, index + 1).squeeze(1)]
        return found

    def map(self, x: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        inside = x.abs() < self.bound
        x0, x1, y0, y1, d0, d1 = self._bin(x, *self._knots(rest))
        width, height = x1 - x0, y1 - y0
        s, t = height / width, ((x - x0) / width).clamp(0, 1)
        between = t * (1 - t)
        denominator = s + (d0 + d1 - 2 * s) * between
        y = y0 + height * (s * t * t + d0 * between) / denominator
        slope = s * s * (d1 * t * t + 2 * s * between + d0 * (1 - t) ** 2) / (denominator * denominator)
        return torch.where(inside, y, x), torch.where(inside, slope.log(), 0.0)

    def unmap(self, y: Tensor, rest: Tensor) -> Tensor:
        inside = y.abs() < self.bound
        xs, ys, slopes = self._knots(rest)
        y0, y1, x0, x1, d0, d1 = self._bin(y, ys, xs, slopes)
        width, height = x1 - x0, y1 - y0
        s, up = height / width, (y - y0).clamp(min=0)
        total = d0 + d1 - 2 * s
        a = height * (s - d0) + up * total
        b = height * d0 - up * total
        c = -s * up
        t = 2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())
        return torch.where(inside, x0 + t.clamp(0, 1) * width, y)


class MixtureOfLogistics(ElementwiseCoupling):
    """``y = logit(sum of weighted logistic CDFs)`` (Ho et al. 2019, sec. 3.2); inverse by bisection."""

    def __init__(self, make: Any, half: int, components: int) -> None:
        super().__init__(make, half, 3 * components)
        self.components = components
        self.start: Tensor
        self.register_buffer("start", torch.linspace(-1, 1, components)[:, None, None, None])

    def _mixture(self, rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k = self.components
        means = rest[:, k : 2 * k] + self.start
        return torch.log_softmax(rest[:, :k], 1), means, (rest[:, 2 * k :]).clamp(min=-5)

    def map(self, x: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        log_weights, means, log_scales = self._mixture(rest)
        v = (x.unsqueeze(1) - means) * (-log_scales).exp()
        log_below, log_above = F.logsigmoid(v), F.logsigmoid(-v)
        below = torch.logsumexp(log_weights + log_below, 1)
        above = torch.logsumexp(log_weights + log_above, 1)
        density = torch.logsumexp(log_weights + log_below + log_above - log_scales, 1)
        return below - above, density - below - above

    def unmap(self, y: Tensor, rest: Tensor) -> Tensor:
        low, high = torch.full_like(y, -200), torch.full_like(y, 200)
        for _ in range(40):
            middle = (low + high) / 2
            above = self.map(middle, rest)[0] > y
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2


class VariationalNoise(nn.Module):
    """Dequantization noise ``u = sigmoid(f(eps; x))`` with a conditional flow ``f`` (Ho et al. 2019, sec. 3.1).

    Two additive-then-affine maps of half of the squeezed channels each, and both see the image.
    """

    def __init__(self, n_channels: int, width: int, steps: int = 2) -> None:
        super().__init__()
        self.squeezed = n_channels * 4
        half = self.squeezed // 2
        self.nets = nn.ModuleList(
            ConvNet(self.squeezed + half * (number > 0), self.squeezed * (2 if number == 0 else 1), width, True, None)
            for number in range(1 + steps)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Returns a random ``u`` and ``log q(u | x)``, (B,)."""
        n_images, n_channels, height, width = images.shape
        return self.sample(images, torch.randn(n_images, 4 * n_channels, height // 2, width // 2))

    def sample(self, images: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the ``u`` of Gaussian numbers ``eps`` (B, 4C, H/2, W/2), and its log-density."""
        x = F.pixel_unshuffle(images.to(eps.dtype) / 256 - 0.5, 2)
        log_q = sum_per_sample(-0.5 * eps * eps - 0.5 * math.log(2 * math.pi))
        shift, raw = deinterleave(self.nets[0](x))
        log_scale = 2 * torch.tanh(raw / 2) + 0.4
        v = eps * log_scale.exp() + shift
        log_q = log_q - sum_per_sample(log_scale)
        for net in self.nets[1:]:
            v1, v2 = v.chunk(2, 1)
            shift, raw = deinterleave(net(torch.cat([x, v1], 1)))
            log_scale = 2 * torch.tanh(raw / 2)
            v = torch.cat([v2 * log_scale.exp() + shift, v1], 1)
            log_q = log_q - sum_per_sample(log_scale)
        log_q = log_q - sum_per_sample(F.logsigmoid(v) + F.logsigmoid(-v))
        return F.pixel_shuffle(torch.sigmoid(v), 2), log_q

    def initialize(self, images: Tensor) -> None:
        x = F.pixel_unshuffle(images.float() / 256 - 0.5, 2)
        for number, net in enumerate(self.nets):
            cast(ConvNet, net).initialize(torch.cat([x, torch.randn_like(x[:, ::2])], 1) if number else x)
