"""Glow: x <-> a list of latents, one per level, finest first.

x -> [Squeeze -> n_steps x FlowStep -> Split] x (n_levels - 1) -> Squeeze -> n_steps x FlowStep -> TopPrior
                                          |
                                          v  half of the channels is factored out at each Split, whitened
"""

from collections.abc import Sequence

from torch import Tensor

from glow_app.flows.bijection import Bijection, Chain, decompose_in_turn
from glow_app.flows.conditioner import ConvNet
from glow_app.flows.coupling import AdditiveCoupling, AffineCoupling
from glow_app.flows.flow import Flow
from glow_app.flows.memory import run
from glow_app.flows.pixel_affine import ActNorm, PixelLinear, channel_permutation
from glow_app.flows.split import Split, TopPrior
from glow_app.flows.squeeze import Squeeze


class FlowStep(Bijection):
    """One step of flow: ActNorm -> 1x1 convolution (or a channel permutation) -> coupling.

    Kingma & Dhariwal 2018, sec. 3, fig. 2a.
    """

    def __init__(self, actnorm: ActNorm, permutation: PixelLinear, coupling: Bijection) -> None:
        super().__init__()
        self.actnorm = actnorm
        self.permutation = permutation
        self.coupling = coupling

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, actnorm_logdet = self.actnorm(x)
        x, permutation_logdet = self.permutation(x)
        z, coupling_logdet = self.coupling(x, cond)
        return z, actnorm_logdet + permutation_logdet + coupling_logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.actnorm.inverse(self.permutation.inverse(self.coupling.inverse(z, cond)))

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return run([one.inverse_with_logdet for one in (self.coupling, self.permutation, self.actnorm)], z, cond)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.coupling.initialize(self.permutation(self.actnorm.initialize(x))[0], cond)

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return decompose_in_turn((self.actnorm, self.permutation, self.coupling), x, cond)


class Level(Bijection):
    """One level: Squeeze, the steps of flow, then the prior that whitens the latents.

    (B, C, H, W) -> (B, 4C, H/2, W/2). After a :class:`Split` the first half of the channels is the next level's
    input and the second half is this level's latent; after :class:`TopPrior` all channels are its latent.
    """

    def __init__(self, steps: Chain, prior: Split | TopPrior) -> None:
        super().__init__()
        self.squeeze = Squeeze()
        self.steps = steps
        self.prior = prior

    def forward(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, _ = self.squeeze(x)
        x, steps_logdet = self.steps(x, cond)
        z, prior_logdet = self.prior(x, cond)
        return z, steps_logdet + prior_logdet

    def inverse(self, z: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.squeeze.inverse(self.steps.inverse(self.prior.inverse(z, cond), cond))

    def inverse_with_logdet(self, z: Tensor, cond: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return run([one.inverse_with_logdet for one in (self.prior, self.steps, self.squeeze)], z, cond)

    def initialize(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return self.prior.initialize(self.steps.initialize(self.squeeze.initialize(x), cond), cond)

    def decompose(self, x: Tensor, cond: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        return decompose_in_turn((self.squeeze, self.steps, self.prior), x, cond)


class Glow(Flow):
    """The multi-scale flow of Kingma & Dhariwal 2018, sec. 3 and fig. 2b.

    ``forward`` returns the latents, finest first; each is N(0, I) under the model.

    Initialise it from data once, by :func:`glow_app.flows.initialize.initialize`; torch's generator draws parameters.

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
        n_steps: K, steps of flow per level, or one number for each level, finest first.
        width: hidden channels of the conditioners.
        coupling: ``affine`` or ``additive``.
        permutation: ``lu``, ``full``, ``shuffle`` or ``reverse``.
        scale: map from the conditioner's output to an affine coupling's scale: ``sigmoid`` (published), ``bounded``.
        border: whether 3x3 convolutions have the border channel of the authors' code.
        n_classes: number of classes of the top prior; 0 for an unconditional model.
        memory: ``plain``, ``checkpoint`` or ``reversible``, see :mod:`glow_app.flows.memory`.
        anchor_every: steps between two states that ``reversible`` stores.

    Raises:
        ValueError: the shape is not divisible, or ``n_steps`` has another length, or an option is not one of those
            named.
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_levels: int,
        n_steps: int | Sequence[int],
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

        steps = [n_steps] * n_levels if isinstance(n_steps, int) else list(n_steps)
        if len(steps) != n_levels:
            raise ValueError(f"n_steps={steps}: give one number for each of {n_levels} levels")

        def step(channels: int) -> FlowStep:
            return FlowStep(
                ActNorm(channels),
                channel_permutation(permutation, channels),
                make_coupling(coupling, channels, width, scale, border),
            )

        levels: list[Bijection] = []
        latent_shapes: list[tuple[int, int, int]] = []
        for level in range(1, n_levels + 1):
            n_channels *= 4
            shape = (n_channels, height >> level, width_pixels >> level)
            chain = Chain([step(n_channels) for _ in range(steps[level - 1])], memory, anchor_every)
            if level < n_levels:
                levels.append(Level(chain, Split(n_channels, border)))
                n_channels //= 2
                shape = (n_channels, *shape[1:])
            else:
                levels.append(Level(chain, TopPrior(n_channels, border, n_classes)))
            latent_shapes.append(shape)
        super().__init__(image_shape, levels, latent_shapes, n_classes=n_classes)


def make_coupling(kind: str, n_channels: int, width: int, scale: str, border: bool) -> Bijection:
    """Creates the coupling layer ``affine`` or ``additive`` with its published conditioner."""
    half = n_channels // 2
    match kind:
        case "affine":
            return AffineCoupling(ConvNet(half, n_channels, width, border, compute_dtype=None), scale)
        case "additive":
            return AdditiveCoupling(ConvNet(half, half, width, border, compute_dtype=None))
    raise ValueError(f"coupling is {kind!r}; choose affine or additive")
