"""The table of every bijection: whoever adds one adds a row, and it is put through every law."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from glow_app.flows import (
    MADE,
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    AutoregressiveConv,
    BatchNorm,
    Bijection,
    Chain,
    ChannelPermutation,
    ConvNet,
    DiagonalScaling,
    DiagonalSqueeze,
    EmergingConv,
    Flatten,
    FlowStep,
    FullInvConv1x1,
    InvConv1x1,
    Inverse,
    Level,
    Logit,
    MarginalGaussianization,
    MaskedAutoregressive,
    MaskedCoupling,
    MintLayer,
    NeuralODE,
    PlanarLayer,
    Plane,
    RadialLayer,
    Reordered,
    ResidualNet,
    Reversed,
    Rotation,
    Solver,
    Split,
    Squeeze,
    Standardisation,
    TopPrior,
    VectorField,
    channel_mask,
    checkerboard,
    vector_coupling,
)

C, H, W = 4, 4, 2
"""Shape of the images that the laws are tried on: few enough numbers for a whole Jacobian, and not square."""


def conv_net(n_in: int, n_out: int) -> ConvNet:
    return ConvNet(n_in, n_out, width=6, border=True, compute_dtype=None)


def affine(scale: str) -> AffineCoupling:
    return AffineCoupling(conv_net(C // 2, C), scale)


def step(n_channels: int) -> FlowStep:
    coupling = AffineCoupling(conv_net(n_channels // 2, n_channels), "bounded")
    return FlowStep(ActNorm(n_channels), InvConv1x1(n_channels), coupling)


def emerging_step() -> FlowStep:
    return FlowStep(ActNorm(C), InvConv1x1(C), Chain([EmergingConv(C), affine("bounded")]))


def level(prior: Callable[[int], Split | TopPrior], memory: str = "plain") -> Level:
    return Level(Chain([step(4 * C), step(4 * C)], memory), prior(4 * C))  # type: ignore[arg-type]


def vector(n_dims: int, kind: str, partition: str, number: int = 1) -> Bijection:
    return vector_coupling(kind, partition, number, n_dims, width=6, n_hidden=2)


def masked(mask: torch.Tensor, kind: str = "actnorm") -> MaskedCoupling:
    return MaskedCoupling(ResidualNet(C, 2 * C, width=6, n_blocks=1, kind=kind, momentum=0.5), mask, C)


def autoregressive(n_hidden: int = 1, activation: str = "relu") -> MaskedAutoregressive:
    return MaskedAutoregressive(MADE(5, width=6, n_hidden=n_hidden, activation=activation))


def batch_norm() -> BatchNorm:
    """With averages that are not those it starts with."""
    norm = BatchNorm(C, momentum=0.5)
    norm.mean.copy_(torch.linspace(-1, 1, C))
    norm.variance.copy_(torch.linspace(0.5, 2, C))
    return norm


def plane(memory: str = "plain") -> Bijection:
    return Plane(n_steps=2, width=6, memory=memory).levels[0]  # type: ignore[return-value]


class SmoothField(VectorField):
    """A field that solvers take a few steps for: laws are about them, and not about the networks of models."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.last, self.classes = nn.Linear(4, 5), nn.Linear(5, 3), nn.Embedding(2, 5)

    def forward(self, t: torch.Tensor, x: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        time = t.to(x).expand(len(x), 1)
        return self.last(torch.tanh(self.hidden(torch.cat([x.flatten(1), time], 1)) + self.classes(cond))).view_as(x)


def ode(method: str = "dopri8", n_steps: int = 1) -> NeuralODE:
    return NeuralODE(SmoothField(), Solver(method, rtol=1e-6, atol=1e-6, n_steps=n_steps))


@dataclass(frozen=True)
class Row:
    make: Callable[[], Bijection]
    n_classes: int = 0
    shape: tuple[int, int, int] = (C, H, W)
    evaluated: bool = False  # in training, batch normalisation lets samples depend on each other
    pixels: bool = False  # takes x in [-1/2, 1/2) alone
    tolerance: float = 0.0  # of a solver: how far a law's errors may go if those of rounding are smaller


BIJECTIONS: dict[str, Row] = {
    "ActNorm": Row(lambda: ActNorm(C)),
    "InvConv1x1": Row(lambda: InvConv1x1(C)),
    "FullInvConv1x1": Row(lambda: FullInvConv1x1(C)),
    "ChannelPermutation shuffle": Row(lambda: ChannelPermutation(torch.tensor([2, 0, 3, 1]))),
    "ChannelPermutation reverse": Row(lambda: ChannelPermutation(torch.arange(C).flip(0))),
    "AffineCoupling sigmoid": Row(lambda: affine("sigmoid")),
    "AffineCoupling bounded": Row(lambda: affine("bounded")),
    "AffineCoupling without border": Row(lambda: AffineCoupling(ConvNet(C // 2, C, 6, False, None), "bounded")),
    "AdditiveCoupling": Row(lambda: AdditiveCoupling(conv_net(C // 2, C // 2))),
    "Squeeze": Row(Squeeze),
    "Split": Row(lambda: Split(C, border=True)),
    "Split without border": Row(lambda: Split(C, border=False)),
    "TopPrior": Row(lambda: TopPrior(C, border=True)),
    "TopPrior conditional": Row(lambda: TopPrior(C, border=True, n_classes=3), n_classes=3),
    "FlowStep": Row(lambda: step(C)),
    "Chain": Row(lambda: Chain([step(C), ActNorm(C), step(C)])),
    "Chain checkpoint": Row(lambda: Chain([step(C), step(C)], memory="checkpoint")),
    "Chain reversible": Row(lambda: Chain([step(C), ActNorm(C), step(C)], memory="reversible", anchor_every=2)),
    "Chain of splits reversible": Row(lambda: Chain([Split(C, border=True), ActNorm(C)], memory="reversible")),
    "vector_coupling affine": Row(lambda: vector(6, "affine", "even_odd"), shape=(6, 1, 1)),
    "vector_coupling additive": Row(lambda: vector(5, "additive", "halves"), shape=(5, 1, 1)),
    "Chain of vector couplings reversible": Row(
        lambda: Chain([vector(5, "affine", "even_odd", i) for i in range(3)], memory="reversible"), shape=(5, 1, 1)
    ),
    "BatchNorm": Row(batch_norm, evaluated=True),
    "MaskedCoupling checkerboard": Row(lambda: masked(checkerboard(H, W, 0))),
    "MaskedCoupling channels": Row(lambda: masked(channel_mask(C, 1))),
    "MaskedCoupling batchnorm": Row(lambda: masked(checkerboard(H, W, 1), "batchnorm"), evaluated=True),
    "Chain of masked couplings reversible": Row(
        lambda: Chain([masked(checkerboard(H, W, 0)), ActNorm(C), masked(channel_mask(C, 0))], memory="reversible")
    ),
    "MaskedAutoregressive": Row(lambda: autoregressive(), shape=(5, 1, 1)),
    "MaskedAutoregressive deep": Row(lambda: autoregressive(3, "tanh"), shape=(5, 1, 1)),
    "MaskedAutoregressive reordered": Row(
        lambda: Reordered(autoregressive(), torch.tensor([3, 0, 4, 1, 2])), shape=(5, 1, 1)
    ),
    "Inverse": Row(lambda: Inverse(autoregressive(2)), shape=(5, 1, 1)),
    "Inverse reordered": Row(
        lambda: Chain([Reordered(Inverse(autoregressive()), torch.arange(5).flip(0)), ActNorm(5)]), shape=(5, 1, 1)
    ),
    "MarginalGaussianization": Row(lambda: MarginalGaussianization(5, 4), shape=(5, 1, 1)),
    "Rotation": Row(lambda: Rotation(5, 3), shape=(5, 1, 1)),
    "Rotation pca": Row(lambda: Rotation(5, 5, "pca"), shape=(5, 1, 1)),
    "Chain of Gaussianization": Row(
        lambda: Chain([MarginalGaussianization(5, 4), Rotation(5, 5), MarginalGaussianization(5, 1)]), shape=(5, 1, 1)
    ),
    "AutoregressiveConv": Row(lambda: AutoregressiveConv(C)),
    "EmergingConv": Row(lambda: EmergingConv(C)),
    "EmergingConv 5x5": Row(lambda: EmergingConv(C, 5)),
    "FlowStep emerging": Row(emerging_step),
    "Chain of emerging steps": Row(lambda: Chain([emerging_step(), emerging_step()])),
    "Chain of emerging steps reversible": Row(
        lambda: Chain([emerging_step(), ActNorm(C), emerging_step()], memory="reversible")
    ),
    "MintLayer": Row(lambda: MintLayer(C, n_groups=3)),
    "MintLayer reversed": Row(lambda: Reversed(MintLayer(C, n_groups=2, kernel_size=5))),
    "MintLayer of one pixel": Row(lambda: MintLayer(5, n_groups=2), shape=(5, 1, 1)),
    "Chain of MintLayers checkpoint": Row(
        lambda: Chain([ActNorm(C), MintLayer(C, 2), Reversed(MintLayer(C, 2))], memory="checkpoint")
    ),
    "PlanarLayer": Row(lambda: PlanarLayer(5), shape=(5, 1, 1)),
    "RadialLayer": Row(lambda: RadialLayer(5), shape=(5, 1, 1)),
    "Chain of planar and radial layers": Row(
        lambda: Chain([Inverse(PlanarLayer(5)), RadialLayer(5), Inverse(RadialLayer(5))]), shape=(5, 1, 1)
    ),
    "Standardisation": Row(lambda: Standardisation(C)),
    "NeuralODE": Row(ode, shape=(3, 1, 1), n_classes=2, tolerance=1e-8),
    "NeuralODE rk4": Row(lambda: ode("rk4", n_steps=20), shape=(3, 1, 1), n_classes=2, tolerance=1e-8),
    "NeuralODE of images": Row(ode, shape=(1, 3, 1), n_classes=2, tolerance=1e-8),
    "DiagonalScaling": Row(lambda: DiagonalScaling(5), shape=(5, 1, 1)),
    "DiagonalSqueeze": Row(lambda: DiagonalSqueeze(C)),
    "Flatten": Row(lambda: Flatten((C, H, W))),
    "Logit": Row(lambda: Logit(0.05), pixels=True),
    "steps of Plane": Row(lambda: plane(), shape=(2, 1, 1)),
    "steps of Plane reversible": Row(lambda: plane(memory="reversible"), shape=(2, 1, 1)),
    "Level": Row(lambda: level(lambda c: Split(c, border=True))),
    "Level at the top": Row(lambda: level(lambda c: TopPrior(c, border=True, n_classes=2)), n_classes=2),
}


def perturb(module: torch.nn.Module, amount: float = 0.1) -> None:
    """Moves every parameter by ``amount * N(0, 1)``: what training does, as far as a law is concerned."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(amount * torch.randn_like(parameter))
