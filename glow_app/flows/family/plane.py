"""A flow of points in the plane: Glow's step with one coordinate conditioning the other."""

from glow_app.flows.bijection import Chain
from glow_app.flows.coupling import AdditiveCoupling, AffineCoupling
from glow_app.flows.family.vector import MLP
from glow_app.flows.flow import Flow
from glow_app.flows.glow import FlowStep
from glow_app.flows.pixel_affine import ActNorm, channel_permutation

SHAPE = (2, 1, 1)
"""A point: an image of one pixel whose two channels are x and y."""


class Plane(Flow):
    """One level of steps of flow, ActNorm -> 1x1 convolution -> coupling, for points in the plane.

    Steps are those of :class:`glow_app.flows.glow.Glow` for two channels and one pixel: the 1x1 convolution is an
    invertible 2x2 matrix, and the coupling has an :class:`glow_app.flows.family.vector.MLP` in place of convolutions.
    The log-determinant is a sum of log-scales, so ``log_prob`` is exact.

    >>> import torch
    >>> from glow_app.flows import Plane, initialize
    >>> flow = Plane(n_steps=4, width=16)
    >>> points = torch.randn(100, 2)[:, :, None, None]
    >>> initialize(flow, points)
    >>> [z], logdet = flow(points)
    >>> torch.allclose(flow.inverse([z]), points, atol=1e-5)
    True

    Args:
        n_steps: K.
        width: units per hidden layer of the conditioners.
        n_hidden: number of hidden layers.
        coupling: ``affine`` or ``additive``.
        permutation: ``lu``, ``full``, ``shuffle`` or ``reverse``, which alternates x and y.
        scale: scale map of affine couplings, ``sigmoid`` or ``bounded``.
        base: base of the latents, ``normal`` or ``logistic``.
        memory: see :class:`glow_app.flows.bijection.Chain`.
        anchor_every: see :class:`glow_app.flows.bijection.Chain`.

    Raises:
        ValueError: an option is not one of those named.
    """

    def __init__(
        self,
        n_steps: int,
        width: int,
        n_hidden: int = 2,
        coupling: str = "affine",
        permutation: str = "lu",
        scale: str = "bounded",
        base: str = "normal",
        memory: str = "plain",
        anchor_every: int = 32,
    ) -> None:
        def step() -> FlowStep:
            match coupling:
                case "affine":
                    between = AffineCoupling(MLP(1, 2, width, n_hidden), scale)
                case "additive":
                    between = AdditiveCoupling(MLP(1, 1, width, n_hidden))
                case _:
                    raise ValueError(f"coupling is {coupling!r}; choose affine or additive")
            return FlowStep(ActNorm(2), channel_permutation(permutation, 2), between)

        steps = Chain([step() for _ in range(n_steps)], memory, anchor_every)
        super().__init__(SHAPE, [steps], [SHAPE], base)
