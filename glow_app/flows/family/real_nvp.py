"""Real NVP: masked affine couplings at several levels; each factors out half of the variables.

x -> [3 x checkerboard coupling -> squeeze -> 3 x channel coupling] x (n_levels - 1) -> 4 x checkerboard coupling
                                                              |
                                                              v  half of the channels is factored out
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app.flows.bijection import Bijection, Chain, zero_logdet
from glow_app.flows.family import batchnorm as norms
from glow_app.flows.family.logit import Logit
from glow_app.flows.family.masked import MaskedCoupling, channel_mask, checkerboard
from glow_app.flows.family.residual import ResidualNet
from glow_app.flows.split import TopPrior
from glow_app.flows.squeeze import Squeeze


class DiagonalSqueeze(Bijection):
    """Squeeze whose channels are ordered by the pixel of the block: upper left, lower right, upper right, lower left.

    So the first half of the channels, which is not factored out, is a checkerboard of pixels in all colours, not some
    of the colours. Dinh et al. 2016, sec. 3.6; the order is that of their released code.

    Args:
        n_channels: C, before the squeeze.
    """

    order: Tensor
    back: Tensor

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        pixel = torch.tensor([0, 3, 1, 2])[:, None]
        order = (pixel + 4 * torch.arange(n_channels)).flatten()
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = self.squeeze(x)[0][:, self.order]
        return z.contiguous(memory_format=torch.channels_last), zero_logdet(x)

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.squeeze.inverse(z[:, self.back])


class RealNVP(norms.NormalisedFlow):
    """The multi-scale flow of Dinh, Sohl-Dickstein & Bengio 2016, sec. 3.6, with a normal base.

    Each coupling is followed by a normalisation of all channels (sec. 3.7). The hidden channels double with each level,
    as in the released code. Factored-out latents are N(0, I) without whitening.

    >>> import torch
    >>> from glow_app.flows import RealNVP, initialize
    >>> flow = RealNVP((3, 16, 16), n_levels=2, n_blocks=1, width=8)
    >>> x = torch.rand(32, 3, 16, 16) - 0.5
    >>> initialize(flow, x)
    >>> [tuple(z.shape) for z in flow.eval()(x)[0]]
    [(32, 6, 8, 8), (32, 6, 8, 8)]

    Args:
        image_shape: (C, H, W); H and W divisible by ``2**(n_levels - 1)``.
        n_levels: number of levels; the last does not squeeze.
        n_blocks: residual blocks per conditioner.
        width: hidden channels of the conditioners at the first level.
        normalisation: ``batchnorm`` (published) or ``actnorm``, of the flow and in the conditioners.
        momentum: momentum of batch normalisation, see :class:`glow_app.flows.family.batchnorm.BatchNorm`.
        logit: alpha of the initial logit transform (0.05 as published); None for no transform.
        n_classes: number of classes of a learned top prior; 0 for an unconditional model.
        memory: ``plain``, ``checkpoint``, or, without batch normalisation, ``reversible``.
        anchor_every: steps between two states that ``reversible`` stores.

    Raises:
        ValueError: the shape is not divisible, or an option is not one of those named.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_levels: int,
        n_blocks: int,
        width: int,
        normalisation: str = "batchnorm",
        momentum: float = 0.0,
        logit: float | None = 0.05,
        n_classes: int = 0,
        memory: str = "plain",
        anchor_every: int = 32,
    ) -> None:
        n_channels, height, width_pixels = image_shape
        if height % 2 ** (n_levels - 1) or width_pixels % 2 ** (n_levels - 1):
            raise ValueError(
                f"{n_levels} scales halve the image {n_levels - 1} times, but {height}x{width_pixels} "
                f"is not divisible by {2 ** (n_levels - 1)}"
            )
        if normalisation == "batchnorm" and memory == "reversible":
            raise ValueError(
                "memory=reversible needs normalisation=actnorm: batch statistics cannot be recomputed from "
                "normalised outputs; memory=checkpoint works with both"
            )
        levels: list[Bijection] = []
        latent_shapes: list[tuple[int, int, int]] = []

        def steps(channels: int, masks: Sequence[Tensor]) -> list[Bijection]:
            layers: list[Bijection] = []
            for mask in masks:
                net = ResidualNet(channels, 2 * channels, hidden, n_blocks, normalisation, momentum)
                layers += [MaskedCoupling(net, mask, channels), norms.normalisation(normalisation, channels, momentum)]
            return layers

        for level in range(n_levels):
            last = level == n_levels - 1
            rows, columns, hidden = height >> level, width_pixels >> level, width << level
            inside = steps(n_channels, [checkerboard(rows, columns, i) for i in range(4 if last else 3)])
            if last:
                inside += [TopPrior(n_channels, border=False, n_classes=n_classes)] if n_classes else []
                latent_shapes.append((n_channels, rows, columns))
            else:
                inside += [DiagonalSqueeze(n_channels)]
                n_channels *= 4
                inside += steps(n_channels, [channel_mask(n_channels, i) for i in range(3)])
                n_channels //= 2
                latent_shapes.append((n_channels, rows // 2, columns // 2))
            chain = Chain(inside, memory, anchor_every)
            levels.append(Chain([Logit(logit), chain]) if logit is not None and level == 0 else chain)
        super().__init__(image_shape, levels, latent_shapes, n_classes=n_classes)
