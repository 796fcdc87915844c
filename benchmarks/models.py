"""Glow, built from the blocks of each library with their defaults, behind one interface.

A library is imported when its model is built: none has to be installed for the others.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.shapes import Shape
from glow_app.flows import Glow, initialize
from glow_app.flows.fast import accelerate


class Model(nn.Module):
    """A Glow of some implementation."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    @abstractmethod
    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) in nats, (B,), differentiable."""

    @abstractmethod
    def sample(self, n: int) -> Tensor:
        """``n`` images. To be called in evaluation mode and without gradients, as whoever samples would."""

    def initialize(self, x: Tensor) -> None:
        """Sets what is initialised from data. Most libraries do so in the first pass of training."""
        with torch.no_grad():
            self.train().log_prob(x)

    def loss(self, x: Tensor) -> Tensor:
        """Bits per dimension of dequantized 8-bit images ``x`` in [-1/2, 1/2): a scalar."""
        return bits_per_dim(self.log_prob(x), self.shape).mean()


def bits_per_dim(nats: Tensor, shape: Shape) -> Tensor:
    """Of 8-bit images, from log-densities of dequantized ones in [-1/2, 1/2)."""
    return 8 - nats / (shape.n_dims * math.log(2))


class UnderAutocast(Model):
    """Another model whose convolutions and products are computed in bfloat16, by ``torch.autocast``."""

    def __init__(self, model: Model) -> None:
        super().__init__(model.shape)
        self.model = model

    def initialize(self, x: Tensor) -> None:
        self.model.initialize(x)

    def log_prob(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.model.log_prob(x).float()

    def sample(self, n: int) -> Tensor:
        with torch.autocast(next(self.parameters()).device.type, torch.bfloat16):
            return self.model.sample(n)


class OurGlow(Model):
    """glow_app's."""

    def __init__(self, shape: Shape, dtype: torch.dtype | None, memory: str) -> None:
        super().__init__(shape)
        self.flow = accelerate(
            Glow(shape.image_shape, shape.n_levels, shape.n_steps, shape.width, coupling=shape.coupling, memory=memory)
        )
        self.flow.set_conditioner_dtype(dtype)

    def initialize(self, x: Tensor) -> None:
        initialize(self.flow, x)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x)

    def sample(self, n: int) -> Tensor:
        return self.flow.sample(n)


class Multiscale(Model):
    """normflows, composed as its Glow example does."""

    def __init__(
        self,
        shape: Shape,
        library: ModuleType,
        block: Callable[..., nn.Module],
        squeeze: Callable[[], nn.Module],
        **options: Any,
    ) -> None:
        super().__init__(shape)
        base, flows, merges = [], [], []
        n_levels, size = shape.n_levels, shape.size
        # The library counts from the top of the flow to the image, the direction in which it generates.
        for above in range(n_levels):
            channels = 3 * 2 ** (n_levels + 1 - above)
            scale = shape.coupling == "affine"
            flows.append([*(block(channels, shape.width, scale=scale) for _ in range(shape.n_steps)), squeeze()])
            side = size >> (n_levels - above)
            if above:
                merges.append(library.flows.Merge())
            latent = (channels // 2 if above else channels, side, side)
            base.append(library.distributions.GlowBase(latent))
        self.flow = library.MultiscaleFlow(base, flows, merges, class_cond=False, **options)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x, None)

    def sample(self, n: int) -> Tensor:
        return self.flow.sample(n)[0]


class AntsMultiscale(Multiscale):
    """antsnormflows, a fork of normflows. What it uses in training is ``inverse_and_log_det``, which can checkpoint."""

    def log_prob(self, x: Tensor) -> Tensor:
        latents, logdet = self.flow.inverse_and_log_det(x)
        return logdet + sum(base.log_prob(z) for base, z in zip(self.flow.q0, latents, strict=True))


class ThreeLayers(nn.Sequential):
    """The conditioner for libraries that bring none: 3x3, ReLU, 1x1, ReLU, zero-initialised 3x3."""

    def __init__(self, n_in: int, n_out: int, width: int) -> None:
        last = nn.Conv2d(width, n_out, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        relu = nn.ReLU(inplace=True)
        super().__init__(nn.Conv2d(n_in, width, 3, padding=1), relu, nn.Conv2d(width, width, 1), relu, last)

    def forward(self, x: Tensor, context: None = None) -> Tensor:
        return super().forward(x)


class NflowsGlow(Model):
    """nflows: its ActNorm, OneByOneConvolution and couplings in its MultiscaleCompositeTransform."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        from nflows import transforms
        from nflows.distributions import StandardNormal
        from nflows.flows import Flow

        kinds = {"affine": transforms.AffineCouplingTransform, "additive": transforms.AdditiveCouplingTransform}
        coupling = kinds[shape.coupling]
        multiscale = transforms.MultiscaleCompositeTransform(shape.n_levels)
        channels, side = 3, shape.size
        for _ in range(shape.n_levels):
            channels, side = 4 * channels, side // 2
            layers: list[nn.Module] = [transforms.SqueezeTransform()]
            for _ in range(shape.n_steps):
                mask = [-1] * (channels // 2) + [1] * (channels // 2)
                layers += [
                    transforms.ActNorm(channels),
                    transforms.OneByOneConvolution(channels, using_cache=True),
                    coupling(mask, lambda n_in, n_out: ThreeLayers(n_in, n_out, shape.width)),
                ]
            multiscale.add_transform(transforms.CompositeTransform(layers), (channels, side, side))
            channels //= 2
        self.flow = Flow(multiscale, StandardNormal([shape.n_dims]))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x)

    def sample(self, n: int) -> Tensor:
        return self.flow.sample(n)


class FreiaGlow(Model):
    """FrEIA: its AllInOneBlock (coupling, global affine, permutation) in a graph with a split after every level."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        from FrEIA import framework, modules

        nodes = [framework.InputNode(*shape.image_shape)]
        outputs = []
        subnet = lambda n_in, n_out: ThreeLayers(n_in, n_out, shape.width)  # noqa: E731
        for level in range(shape.n_levels):
            nodes.append(framework.Node(nodes[-1], modules.IRevNetDownsampling, {}))
            for _ in range(shape.n_steps):
                block = {"subnet_constructor": subnet, "permute_soft": True}
                nodes.append(framework.Node(nodes[-1], modules.AllInOneBlock, block))
            if level < shape.n_levels - 1:
                split = framework.Node(nodes[-1], modules.Split, {})
                outputs.append(framework.OutputNode(split.out1))
                nodes.append(split)
        outputs.append(framework.OutputNode(nodes[-1]))
        self.flow = framework.GraphINN([*nodes, *outputs])
        self.latent_shapes = self.flow.global_out_shapes

    def initialize(self, x: Tensor) -> None:
        """The block's affine is not initialised from data by the library: it is here, as an ActNorm would be."""
        blocks = [module for module in self.flow.module_list if hasattr(module, "global_scale")]
        hooks = [block.register_forward_pre_hook(self._standardize) for block in blocks]
        super().initialize(x)
        for hook in hooks:
            hook.remove()

    @staticmethod
    def _standardize(block: nn.Module, inputs: tuple[tuple[Tensor]]) -> None:
        # The coupling before the affine is the identity at first: what enters the block enters the affine.
        std, mean = torch.std_mean(inputs[0][0], (0, 2, 3), keepdim=True)
        wanted = 5 / std
        # The inverse of the library's own 0.1 * softplus(raw, beta=0.5).
        block.get_parameter("global_scale").copy_(2 * (wanted + torch.log(-torch.expm1(-wanted))))
        block.get_parameter("global_offset").copy_(-mean / std)

    def log_prob(self, x: Tensor) -> Tensor:
        latents, logdet = self.flow(x)
        squares = sum(z.square().flatten(1).sum(1) for z in latents)
        return logdet - 0.5 * (squares + self.shape.n_dims * math.log(2 * math.pi))

    def sample(self, n: int) -> Tensor:
        device = next(self.parameters()).device
        latents = [torch.randn(n, *shape, device=device) for shape in self.latent_shapes]
        return self.flow(latents, rev=True)[0]


def normflows_glow(shape: Shape) -> Model:
    """normflows: its GlowBlock."""
    import normflows

    return Multiscale(shape, normflows, normflows.flows.GlowBlock, normflows.flows.Squeeze)


def ants_glow(shape: Shape, checkpoint: bool) -> Model:
    """antsnormflows: its GlowBlock2d, with or without gradient checkpointing."""
    import antsnormflows

    block, squeeze = antsnormflows.flows.GlowBlock2d, antsnormflows.flows.Squeeze2d
    return AntsMultiscale(shape, antsnormflows, block, squeeze, grad_checkpoint=checkpoint)
