"""The recipes that are compared with the preset ``small`` at equal time, one change at a time."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch.optim import Adam, Optimizer

from benchmarks.training.layers import (
    DropoutNet,
    GatedResidualNet,
    MixtureOfLogistics,
    SinhArcsinh,
    Spline,
    ThreeByThreeNet,
    VariationalNoise,
)
from benchmarks.training.ours import Net, Ours, glow
from benchmarks.training.race import Model, Recipe
from benchmarks.training.schedules import Rate, clip_norm, cosine, warm_stable_decay
from glow_app.flows.conditioner import ConvNet, ZeroConv2d
from glow_app.training.muon import Muon, kernels_of
from glow_app.training.optim import PublishedAdamax

Optimizers = Callable[[Model], Sequence[Optimizer]]


def adam(lr: float = 4e-3) -> Optimizers:
    """Adam for everything."""
    return lambda model: [Adam(model.parameters(), lr=lr, fused=True)]


def adamax(lr: float) -> Optimizers:
    """The published Adamax."""
    return lambda model: [PublishedAdamax(model.parameters(), lr=lr, betas=(0.9, 0.999))]


def muon(kernels: float = 4e-3, rest: float = 4e-3, last: bool = True) -> Optimizers:
    """Muon for the kernels, Adam for everything else, each with its rate.

    Args:
        kernels: rate of Muon.
        rest: rate of Adam.
        last: whether the zero-initialised kernels, whose output is shift and log-scale, are Muon's.
    """

    def make(model: Model) -> Sequence[Optimizer]:
        zero = {id(module.weight) for module in model.modules() if isinstance(module, ZeroConv2d)}
        chosen = [kernel for kernel in kernels_of(model) if last or id(kernel) not in zero]
        ids = {id(kernel) for kernel in chosen}
        others = [parameter for parameter in model.parameters() if id(parameter) not in ids]
        return [Muon(chosen, chosen, kernels, (0.9, 0.999)), Adam(others, lr=rest, fused=True)]

    return make


def conv_net(width: int) -> Net:
    """The published conditioner."""
    return lambda n_in, n_out: ConvNet(n_in, n_out, width, True, None)


def three_by_three(width: int) -> Net:
    """Three 3x3 convolutions."""
    return lambda n_in, n_out: ThreeByThreeNet(n_in, n_out, width)


def residual(width: int, **options: Any) -> Net:
    """A gated residual conditioner."""
    return lambda n_in, n_out: GatedResidualNet(n_in, n_out, width, **options)


def dropout(n_in: int, n_out: int) -> DropoutNet:
    """The published conditioner with dropout."""
    return DropoutNet(n_in, n_out, 128, True, None)


def idea(
    optimizers: Optimizers, rate: Rate | None = None, noise: Any = None, average: float = 0.999, flip: bool = True,
    batch: int = 32, **model: Any,
) -> Recipe:  # fmt: skip
    """``small`` with these changes; ``model`` is passed to :func:`benchmarks.training.ours.glow`."""
    return Recipe(
        lambda shape: Ours(glow(shape, **model), noise(shape[0]) if noise else None),  # type: ignore[arg-type]
        optimizers, rate or cosine(), batch, average, flip, clip=clip_norm(100.0),
    )  # fmt: skip


ADAM = {
    "small": idea(adam()),
    "no_flip": idea(adam(), flip=False),
    "no_average": idea(adam(), average=0.0),
    "adam_2e-3": idea(adam(2e-3)),
    "adamax": idea(adamax(4e-3)),
    "wsd": idea(adam(), warm_stable_decay()),
    "batch64": idea(adam(), batch=64),
    "batch16": idea(adam(2.8e-3), batch=16),
    "deep_split": idea(adam(), split=conv_net(128)),
    "residual": idea(adam(), net=residual(64)),
    "spline": idea(adam(), coupling=partial(Spline, bins=4)),
    "mixture": idea(adam(), coupling=partial(MixtureOfLogistics, components=4)),
    "k16_w64": idea(adam(), n_steps=(16,) * 4, widths=(64,) * 4),
    "k4_w256": idea(adam(), n_steps=(4,) * 4, widths=(256,) * 4),
}
"""With Adam, as ``small`` has it."""

MUON = {
    "muon": idea(muon()),
    "muon_2e-3": idea(muon(2e-3)),
    "muon_8e-3": idea(muon(8e-3)),
    "muon_rest_8e-3": idea(muon(rest=8e-3)),
    "muon_hidden": idea(muon(last=False)),
    "muon_hidden_8e-3": idea(muon(8e-3, last=False)),
    "muon_wsd": idea(muon(), warm_stable_decay()),
    "muon_linear": idea(muon(), warm_stable_decay(decay=0.92)),
    "muon_8e-3_rest_2e-3": idea(muon(8e-3, 2e-3)),
    "muon_rest_2e-3": idea(muon(rest=2e-3)),
    "muon_batch64": idea(muon(), batch=64),
    "muon_batch16": idea(muon(), batch=16),
    "muon_dropout": idea(muon(), net=dropout),
    "muon_deep_split": idea(muon(), split=conv_net(128)),
    "muon_3x3_w64": idea(muon(), net=three_by_three(64)),
    "muon_residual": idea(muon(), net=residual(64)),
    "muon_residual_1x1": idea(muon(), net=residual(96, kernel=1)),
    "muon_residual2": idea(muon(), net=residual(64, blocks=2, gated=False)),
    "muon_sinh": idea(muon(), coupling=SinhArcsinh),
    "muon_spline": idea(muon(), coupling=partial(Spline, bins=4)),
    "muon_mixture": idea(muon(), coupling=partial(MixtureOfLogistics, components=4)),
    "muon_variational": idea(muon(), noise=partial(VariationalNoise, width=64)),
    "muon_k16_w64": idea(muon(), n_steps=(16,) * 4, widths=(64,) * 4),
    "muon_k12_w96": idea(muon(), n_steps=(12,) * 4, widths=(96,) * 4),
    "muon_k4_w256": idea(muon(), n_steps=(4,) * 4, widths=(256,) * 4),
    "muon_k5_8_16": idea(muon(), n_steps=(5, 8, 16, 16)),
    "muon_k10_6_4": idea(muon(), n_steps=(10, 6, 4, 4)),
    "muon_k12_4_2": idea(muon(), n_steps=(12, 4, 2, 2)),
    "muon_w160_96_64": idea(muon(), widths=(160, 96, 64, 64)),
    "muon_w96_160_256": idea(muon(), widths=(96, 160, 256, 256)),
    "muon_k16": idea(muon(), n_steps=(16,) * 4),
}
"""With Muon for the kernels."""

IDEAS: dict[str, Recipe] = ADAM | MUON
