"""Glow: x <-> a list of latents, one per level, finest first.

x -> [Squeeze -> n_steps x FlowStep -> Split] x (n_levels - 1) -> Squeeze -> n_steps x FlowStep -> TopPrior
                                          |
                                          v  half of the channels leaves at each Split, whitened
"""

from collections.abc import Sequence
from functools import partial
from typing import cast

import torch
from torch import Tensor

from glow_app.flows.bijection import Bijection, Chain, decompose_in_turn, gradients
from glow_app.flows.conditioner import ConvNet
from glow_app.flows.coupling import AdditiveCoupling, AffineCoupling
from glow_app.flows.fast import matmul
from glow_app.flows.fast.cache import WhileUnchanged, parameters_of
from glow_app.flows.fast.matmul import Matrices
from glow_app.flows.flow import Flow
from glow_app.flows.memory import Step
from glow_app.flows.pixel_affine import ActNorm, PixelAffine, PixelMap, channel_mixing, joint_map, log_determinant
from glow_app.flows.split import Split, TopPrior
from glow_app.flows.squeeze import Squeeze

AT_ONCE = 4 * 2**20
"""Bytes of the widest activation that evaluation computes at once on each thread of a CPU."""


class FlowStep(Bijection):
    """One step of flow: ActNorm -> 1x1 convolution (or another order of the channels) -> coupling.

    ActNorm and the 1x1 convolution are applied as the one affine map of a pixel that they are together.
    Kingma & Dhariwal 2018, sec. 3, fig. 2a.
    """

    def __init__(self, actnorm: ActNorm, permutation: PixelAffine[PixelMap], coupling: Bijection) -> None:
        super().__init__()
        self.actnorm = actnorm
        self.permutation = permutation
        self.coupling = coupling
        self._inverse: WhileUnchanged[PixelMap] = WhileUnchanged()

    def forward(
        self, x: Tensor, cond: Tensor | None = None, mixing: PixelMap | None = None, matrices: Matrices | None = None
    ) -> tuple[Tensor, Tensor]:
        """As every bijection; if ActNorm and permutation have been assembled to one map already, ``mixing``, then its
        log-determinant is counted by whoever has done so. The same for the conditioner's ``matrices``.
        """
        if mixing is not None:
            return self.coupling(mixing.transform(x), cond, *([] if matrices is None else [matrices]))
        y, mixing_logdet = self._mixing()(x)
        z, coupling_logdet = self.coupling(y, cond)
        return z, mixing_logdet + coupling_logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self._inverse_mixing(z.dtype).transform(self.coupling.inverse(z, cond))

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        y = self.permutation(self.actnorm.initialize(x))[0]
        return self.coupling.initialize(y, cond)

    def backpropagate(
        self, z: Tensor, grad_z: Tensor, grad_logdet: Tensor, cond: Tensor | None
    ) -> tuple[Tensor, Tensor, dict[Tensor, Tensor]]:
        y, grad_y, of_coupling = self.coupling.backpropagate(z, grad_z, grad_logdet, cond)
        with torch.no_grad():
            x = self._solve_inverse_mixing(y.dtype).transform(y)
        mixing = [*self.actnorm.parameters(), *self.permutation.parameters()]
        grad_x, of_mixing = gradients(lambda x: self._mixing()(x), x, grad_y, grad_logdet, mixing)
        return x, grad_x, of_coupling | of_mixing

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return decompose_in_turn((self.actnorm, self.permutation, self.coupling), x, cond)

    def train(self, mode: bool = True) -> "FlowStep":
        self._inverse.drop()
        return super().train(mode)

    def _mixing(self) -> PixelMap:
        """ActNorm and permutation as one map."""
        return self.actnorm.pixel_map().then(self.permutation.pixel_map())

    def _inverse_mixing(self, dtype: torch.dtype) -> PixelMap:
        """The inverse of ActNorm and permutation as one map; kept in evaluation while no parameter changes."""
        if self.training or torch.is_grad_enabled():
            return self._solve_inverse_mixing(dtype)
        tensors = parameters_of(self.actnorm, self.permutation)
        return self._inverse(tensors, dtype, lambda: self._solve_inverse_mixing(dtype))

    def _solve_inverse_mixing(self, dtype: torch.dtype) -> PixelMap:
        return self.permutation.inverse_map().then(self.actnorm.inverse_map()).to(dtype)


class FlowSteps(Chain):
    """The steps of flow of one level, whose 1x1 convolutions are assembled from their factors all at once."""

    def prepared(self, x: Tensor) -> tuple[Sequence[Step], Tensor]:
        steps = cast(list[FlowStep], self.steps)
        mixings = joint_map([step.actnorm for step in steps]).then(joint_map([step.permutation for step in steps]))
        matrices = self._matrices(x)
        prepared = [
            partial(step, mixing=mixing, matrices=of_step)
            for step, mixing, of_step in zip(steps, mixings.unbind(), matrices, strict=True)
        ]
        return prepared, log_determinant(mixings.logdet.sum(), x)

    def _matrices(self, x: Tensor) -> Sequence[Matrices | None]:
        """Of the conditioners, where they are asked on a GPU and differentiated."""
        steps = cast(list[FlowStep], self.steps)
        if not (torch.is_grad_enabled() and matmul.suit(x)):
            return [None] * len(steps)
        conditioners = [getattr(step.coupling, "conditioner", None) for step in steps]
        if not all(isinstance(one, ConvNet) for one in conditioners):
            return [None] * len(steps)
        nets = cast(list[ConvNet], conditioners)
        layers = [net.layers() for net in nets]
        return matmul.joint_matrices(layers, *x.shape[2:], dtype=nets[0].compute_dtype or x.dtype).unbind()


class Level(Bijection):
    """One scale: Squeeze, the steps of flow, then the prior through which latents leave.

    (B, C, H, W) -> (B, 4C, H/2, W/2). After a :class:`Split` the first half of the channels goes on to the next level
    and the second half is this level's latent; after :class:`TopPrior` all of them are.
    """

    def __init__(self, steps: Chain, prior: Split | TopPrior) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        self.steps = steps
        self.prior = prior
        self._widest = max(len(parameter) for parameter in steps.parameters())

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        found = [self._forward(*part) for part in self._parts(x, cond, x.shape[2:].numel() // 4)]
        return _joined([z for z, _ in found]), _joined([logdet for _, logdet in found])

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return _joined([self._inverse(*part) for part in self._parts(z, cond, z.shape[2:].numel())])

    def _forward(self, x: Tensor, cond: Tensor | None) -> tuple[Tensor, Tensor]:
        y, _ = self.squeeze(x)
        y, steps_logdet = self.steps(y, cond)
        z, prior_logdet = self.prior(y, cond)
        return z, steps_logdet + prior_logdet

    def _inverse(self, z: Tensor, cond: Tensor | None) -> Tensor:
        return self.squeeze.inverse(self.steps.inverse(self.prior.inverse(z, cond), cond))

    def _parts(self, x: Tensor, cond: Tensor | None, n_pixels: int) -> list[tuple[Tensor, Tensor | None]]:
        """The batch; in evaluation on a CPU, as many images at a time as stay in its cache on their way."""
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling() or x.device.type != "cpu":
            return [(x, cond)]
        n_images = max(1, AT_ONCE * torch.get_num_threads() // (self._widest * n_pixels * x.element_size()))
        parts = x.split(n_images)
        return list(zip(parts, [None] * len(parts) if cond is None else cond.split(n_images), strict=True))

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.prior.initialize(self.steps.initialize(self.squeeze.initialize(x), cond), cond)

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return decompose_in_turn((self.squeeze, self.steps, self.prior), x, cond)


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class Glow(Flow):
    """The multi-scale flow of Kingma & Dhariwal 2018, sec. 3 and fig. 2b.

    ``forward`` gives the latents, finest first, every one of which is N(0, I) under the model.

    A new model has to be initialised from data once, by :func:`glow_app.flows.initialize.initialize`, before its use.
    The random parts of its parameters come from torch's global generator.

    >>> import torch
    >>> from glow_app.flows import Glow, initialize
    >>> flow = Glow((3, 16, 16), n_levels=2, n_steps=4, width=32)
    >>> x = torch.rand(32, 3, 16, 16) - 0.5
    >>> initialize(flow, x)
    >>> latents, logdet = flow(x)
    >>> [tuple(z.shape) for z in latents], tuple(logdet.shape)
    ([(32, 6, 8, 8), (32, 24, 4, 4)], (32,))
    >>> torch.allclose(flow.inverse(latents), x, atol=1e-4)
    True
    >>> loss = -flow.log_prob(x).mean() / flow.n_dims
    >>> loss.backward()

    Args:
        image_shape: (C, H, W); H and W divisible by ``2**n_levels``.
        n_levels: L.
        n_steps: K, steps of flow per level.
        width: hidden channels of the conditioners.
        coupling: ``affine`` or ``additive``.
        permutation: ``lu``, ``full``, ``shuffle`` or ``reverse``.
        scale: map from the conditioner's answer to an affine coupling's scale: ``sigmoid`` (published), ``bounded``.
        border: the border channel of the authors' code in every 3x3 convolution.
        n_classes: classes of the top prior; 0 for an unconditional model.
        memory: ``plain``, ``checkpoint`` or ``reversible``, see :mod:`glow_app.flows.memory`.
        anchor_every: steps between two states that ``reversible`` keeps.

    Raises:
        ValueError: the shape is not divisible, or an option is not one of those named.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_levels: int,
        n_steps: int,
        width: int,
        coupling: str = "affine",
        permutation: str = "lu",
        scale: str = "bounded",
        border: bool = True,
        n_classes: int = 0,
        memory: str = "plain",
        anchor_every: int = 32,
    ) -> None:
        n_channels, height, width_pixels = image_shape
        if height % 2**n_levels or width_pixels % 2**n_levels:
            raise ValueError(
                f"{n_levels} levels halve the image {n_levels} times, but {height}x{width_pixels} "
                f"is not divisible by {2**n_levels}"
            )

        def step(channels: int) -> FlowStep:
            return FlowStep(
                ActNorm(channels),
                channel_mixing(permutation, channels),
                make_coupling(coupling, channels, width, scale, border),
            )

        levels: list[Bijection] = []
        latent_shapes: list[tuple[int, int, int]] = []
        for level in range(1, n_levels + 1):
            n_channels *= 4
            shape = (n_channels, height >> level, width_pixels >> level)
            chain = FlowSteps([step(n_channels) for _ in range(n_steps)], memory, anchor_every)
            if level < n_levels:
                levels.append(Level(chain, Split(n_channels, border)))
                n_channels //= 2
                shape = (n_channels, *shape[1:])
            else:
                levels.append(Level(chain, TopPrior(n_channels, border, n_classes)))
            latent_shapes.append(shape)
        super().__init__(image_shape, levels, latent_shapes, n_classes=n_classes)


def make_coupling(kind: str, n_channels: int, width: int, scale: str, border: bool) -> Bijection:
    """The coupling layer ``affine`` or ``additive`` with its published conditioner."""
    half = n_channels // 2
    match kind:
        case "affine":
            return AffineCoupling(ConvNet(half, n_channels, width, border, compute_dtype=None), scale)
        case "additive":
            return AdditiveCoupling(ConvNet(half, half, width, border, compute_dtype=None))
    raise ValueError(f"coupling is {kind!r}; choose affine or additive")
