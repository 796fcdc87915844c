"""The faster layers against the plain ones, on the very same parameters: every row of the table of bijections."""

import copy

import pytest
import torch
from torch import Tensor

from glow_app.flows import (
    CNF,
    IAF,
    MAF,
    ActNorm,
    Bijection,
    Chain,
    EmergingGlow,
    Flow,
    Gaussianization,
    Glow,
    InvConv1x1,
    MintNet,
    MLPField,
    Nice,
    PlanarFlow,
    Plane,
    RadialFlow,
    RealNVP,
    Solver,
    initialize,
    vector_coupling,
)
from glow_app.flows.fast import FASTER, accelerate, reference
from tests.contracts.bijections import BIJECTIONS, Row, perturb

FLOWS = [
    Flow((5, 1, 1), [Chain([ActNorm(5), InvConv1x1(5), vector_coupling("affine", "halves", 0, 5, 8, 1)])], [(5, 1, 1)]),
    Glow((3, 8, 8), 2, 2, 8),
    EmergingGlow((3, 8, 8), 2, 2, 8),
    Gaussianization((1, 2, 3), n_layers=2, n_components=4),
    MintNet((1, 4, 4), n_levels=2, n_layers=2, width=8),
    Nice((1, 4, 4), n_couplings=2, n_hidden=1, width=8),
    RealNVP((3, 8, 8), n_levels=2, n_blocks=1, width=4),
    Plane(n_steps=2, width=8),
    MAF((1, 2, 3), n_layers=2, n_hidden=1, width=8, normalisation="actnorm"),
    IAF((1, 2, 3), n_layers=2, n_hidden=1, width=8),
    PlanarFlow((1, 2, 3), n_layers=2, direction="normalising"),
    RadialFlow((1, 2, 3), n_layers=2),
    CNF((2, 1, 1), MLPField(2, width=8, n_hidden=1), Solver("rk4", n_steps=4)),
]
"""One of each class of flows."""

FASTER_NAMES = {faster: plain.__name__ for plain, faster in FASTER.items()}

HAVE_FASTER = {
    name: row for name, row in BIJECTIONS.items() if any(type(layer) in FASTER for layer in row.make().modules())
}
B = 3


def made(row: Row, dtype: torch.dtype, training: bool) -> tuple[Bijection, Tensor, Tensor | None]:
    torch.manual_seed(0)
    bijection = row.make().to(dtype)
    perturb(bijection)
    x = torch.randn(B, *row.shape, dtype=dtype)
    labels = torch.arange(B) % row.n_classes if row.n_classes else None
    return bijection.train(training and not row.evaluated), x, labels


def computed(bijection: Bijection, x: Tensor, cond: Tensor | None) -> dict[str, Tensor]:
    """Output, log-determinant, their gradients, the inverse and its gradients, and all of it without gradients."""
    x = x.detach().clone().requires_grad_()
    parameters = dict(bijection.named_parameters())
    z, logdet = bijection(x, cond)
    weights = torch.cos(torch.arange(z.numel(), dtype=z.dtype)).view(z.shape)
    found = {"z": z, "logdet": logdet}
    found |= gradients("forward", (z * weights).sum() + logdet.square().sum(), {"x": x, **parameters})
    z = z.detach().requires_grad_()
    back = bijection.inverse(z, cond)
    found |= {"inverse": back}
    found |= gradients("inverse", (back * torch.cos(back)).sum(), {"z": z, **parameters})
    with torch.no_grad():
        alone, alone_logdet = bijection(x, cond)
        found |= {"alone": alone, "alone logdet": alone_logdet, "alone inverse": bijection.inverse(alone, cond)}
    return {name: value.detach() for name, value in found.items()}


def gradients(of: str, total: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    found = torch.autograd.grad(total, list(inputs.values()), allow_unused=True, materialize_grads=True)
    return {f"gradient of {name}, {of}": gradient for name, gradient in zip(inputs, found, strict=True)}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=["fp64", "fp32"])
@pytest.mark.parametrize("name", HAVE_FASTER, ids=lambda name: name.replace(" ", "-"))
def test_faster_layers_compute_what_the_plain_ones_state(
    name: str, dtype: torch.dtype, error: float, training: bool
) -> None:
    bijection, x, cond = made(HAVE_FASTER[name], dtype, training)
    kinds = [type(layer) for layer in bijection.modules()]
    parameters = list(bijection.parameters())
    plain = computed(bijection, x, cond)
    assert accelerate(bijection) is bijection
    fast = computed(bijection, x, cond)
    assert fast.keys() == plain.keys()
    for key, value in plain.items():
        assert fast[key].dtype == dtype
        assert (fast[key] - value).abs().max() <= error * (1 + value.abs().max()), key
    assert reference(bijection) is bijection
    assert [type(layer) for layer in bijection.modules()] == kinds
    assert all(one is other for one, other in zip(bijection.parameters(), parameters, strict=True))
    again = computed(bijection, x, cond)
    assert all(torch.equal(again[key], value) for key, value in plain.items())


def test_a_row_reaches_every_faster_class() -> None:
    reached = {type(layer) for row in HAVE_FASTER.values() for layer in row.make().modules()}
    reached |= {type(flow) for flow in FLOWS}
    assert reached >= set(FASTER), f"add a row with {set(FASTER) - reached} to tests/contracts/bijections.py"


@pytest.mark.parametrize("coupling", ["affine", "additive"])
@pytest.mark.parametrize("border", [True, False], ids=["border", "no border"])
@pytest.mark.parametrize("permutation", ["lu", "full", "shuffle"])
@pytest.mark.parametrize("memory", ["plain", "reversible"])
def test_a_whole_glow_agrees(coupling: str, border: bool, permutation: str, memory: str) -> None:
    torch.manual_seed(0)
    glow = Glow((3, 8, 8), 2, 3, 8, coupling, permutation, border=border, memory=memory).double()
    x = torch.rand(16, 3, 8, 8, dtype=torch.float64) - 0.5
    initialize(glow, x)
    perturb(glow, 0.03)

    def found() -> list[Tensor]:
        loss = glow.log_prob(x[:4]).mean()
        return [loss.detach(), *torch.autograd.grad(loss, list(glow.parameters()))]

    plain = found()
    accelerate(glow)
    for one, other in zip(found(), plain, strict=True):
        assert (one - other).abs().max() <= 1e-10 * (1 + other.abs().max())


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
def test_whole_flows_agree(flow: Flow, training: bool) -> None:
    torch.manual_seed(0)
    flow = copy.deepcopy(flow).double()
    x = torch.rand(16, *flow.image_shape, dtype=torch.float64) - 0.5
    initialize(flow, x)
    perturb(flow, 0.03)
    flow.train(training)

    def found() -> list[Tensor]:
        flow.zero_grad()
        latents, logdet = flow(x)
        flow.log_prob(x).mean().backward()
        gradients = [parameter.grad for parameter in flow.parameters() if parameter.grad is not None]
        with torch.no_grad():
            _, parts = flow.decompose(x)
            decomposed = [part for of_level in parts for part in of_level.values()]
            return [*latents, logdet, *gradients, *decomposed, flow.inverse(latents)]

    plain = [value.detach().clone() for value in found()]
    fast = accelerate(flow)
    assert fast is flow and type(flow) in FASTER.values() and flow.kind == FASTER_NAMES[type(flow)]
    for one, other in zip(found(), plain, strict=True):
        assert (one - other).abs().max() <= 1e-10 * (1 + other.abs().max())


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: type(flow).__name__)
def test_states_are_those_of_the_plain_flow(flow: Flow) -> None:
    names = list(flow.state_dict())
    fast = accelerate(copy.deepcopy(flow))
    assert list(fast.state_dict()) == names
    assert [name for name, _ in fast.named_modules()] == [name for name, _ in flow.named_modules()]
    fast.load_state_dict(flow.state_dict())
    flow.load_state_dict(fast.state_dict())
    assert reference(accelerate(accelerate(fast))).state_dict().keys() == set(names)


def test_what_is_measured_of_a_layer_has_the_name_of_its_plain_class() -> None:
    glow = Glow((3, 8, 8), 2, 2, 8)
    x = torch.rand(16, 3, 8, 8) - 0.5
    initialize(glow, x)
    _, plain = glow.decompose(x)
    _, fast = accelerate(glow).decompose(x)
    assert [list(parts) for parts in fast] == [list(parts) for parts in plain]
