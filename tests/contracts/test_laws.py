"""Every law of the contract, on every bijection, as it is made and as training might leave it."""

import copy

import pytest
import torch
from beartype import beartype
from jaxtyping import Float, jaxtyped
from torch import Tensor

from glow_app.flows import Bijection
from glow_app.flows.fast import accelerate
from glow_app.flows.fast.faster import Faster
from tests.contracts.bijections import BIJECTIONS, perturb

Case = tuple[Bijection, Tensor, Tensor | None]
B = 3


def bound(request: pytest.FixtureRequest, of_rounding: float) -> float:
    """The largest error that a law allows: that of rounding, or of the solver that a row states."""
    return max(of_rounding, BIJECTIONS[request.node.callspec.params["case"]].tolerance)


@pytest.fixture(params=["new", "perturbed"])
def state(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["plain", "fast"])
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=BIJECTIONS, ids=lambda name: name.replace(" ", "-"))
def case(request: pytest.FixtureRequest, state: str, way: str) -> Case:
    torch.manual_seed(0)
    row = BIJECTIONS[request.param]
    bijection = row.make().double()
    if way == "fast":
        accelerate(bijection)
        if not any(isinstance(module, Faster) for module in bijection.modules()):
            pytest.skip("nothing in it has a faster class")
    bijection.train(not row.evaluated)
    if state == "perturbed":
        perturb(bijection)
    x = torch.randn(B, *row.shape, dtype=torch.float64)
    if row.pixels:
        x = torch.sigmoid(x) - 0.5
    return bijection, x, torch.arange(B) % row.n_classes if row.n_classes else None


@jaxtyped(typechecker=beartype)
def forward(
    bijection: Bijection, x: Float[Tensor, "b c h w"], cond: Tensor | None
) -> tuple[Float[Tensor, "b c2 h2 w2"], Float[Tensor, " b"]]:
    return bijection(x, cond)


def test_logdet_is_that_of_the_jacobian(case: Case, request: pytest.FixtureRequest) -> None:
    bijection, x, cond = case
    _, logdet = forward(bijection, x, cond)
    for i in range(B):
        label = None if cond is None else cond[i : i + 1]
        jacobian = torch.autograd.functional.jacobian(lambda one, label=label: bijection(one, label)[0], x[i : i + 1])
        n = x[i].numel()
        expected = torch.linalg.slogdet(jacobian.reshape(n, n)).logabsdet
        assert abs(logdet[i] - expected) < bound(request, 1e-8)


def test_inverse_undoes_forward(case: Case, request: pytest.FixtureRequest) -> None:
    bijection, x, cond = case
    z, _ = forward(bijection, x, cond)
    assert (bijection.inverse(z, cond) - x).abs().max() < bound(request, 1e-10)
    assert (forward(bijection, bijection.inverse(z, cond), cond)[0] - z).abs().max() < bound(request, 1e-10)


def test_inverse_undoes_forward_in_float32(case: Case) -> None:
    bijection, x, cond = case
    bijection, x = bijection.float(), x.float()
    z, logdet = forward(bijection, x, cond)
    assert z.dtype == logdet.dtype == torch.float32
    assert (bijection.inverse(z, cond) - x).abs().max() < 1e-4


def test_inverse_with_logdet_is_the_inverse_and_minus_the_logdet(case: Case, request: pytest.FixtureRequest) -> None:
    bijection, x, cond = case
    z, logdet = forward(bijection, x, cond)
    again, inverse_logdet = bijection.inverse_with_logdet(z, cond)
    assert (again - bijection.inverse(z, cond)).abs().max() < bound(request, 1e-12)
    assert inverse_logdet.shape == (B,)
    assert (inverse_logdet + logdet).abs().max() < bound(request, 1e-8)


def test_logdet_belongs_to_its_sample(case: Case, request: pytest.FixtureRequest) -> None:
    bijection, x, cond = case
    _, logdet = forward(bijection, x, cond)
    assert logdet.shape == (B,)
    assert logdet.dtype == torch.float64
    for i in range(B):
        alone = forward(bijection, x[i : i + 1], None if cond is None else cond[i : i + 1])[1]
        assert abs(logdet[i] - alone[0]) < bound(request, 1e-11)


def test_gradients_of_forward_and_inverse(case: Case) -> None:
    bijection, x, cond = case
    parameters = tuple(bijection.parameters())

    def ahead(x: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return bijection(x, cond)

    def back(z: Tensor, *_: Tensor) -> Tensor:
        return bijection.inverse(z, cond)

    def back_with_logdet(z: Tensor, *_: Tensor) -> tuple[Tensor, Tensor]:
        return bijection.inverse_with_logdet(z, cond)

    z = bijection(x, cond)[0].detach()
    assert torch.autograd.gradcheck(ahead, (x.requires_grad_(), *parameters), fast_mode=True)
    for inverse in (back, back_with_logdet):
        assert torch.autograd.gradcheck(inverse, (z.requires_grad_(), *parameters), fast_mode=True)


def test_state_dict_carries_everything(case: Case, request: pytest.FixtureRequest) -> None:
    bijection, x, cond = case
    name = request.node.callspec.params["case"]
    torch.manual_seed(1)  # another beginning, which loading has to overwrite
    other = BIJECTIONS[name].make().double()
    if request.node.callspec.params["way"] == "fast":
        accelerate(other)
    other.train(bijection.training)
    if not name.startswith("ChannelPermutation"):
        perturb(other)
    other.load_state_dict(bijection.state_dict())
    for a, b in zip(bijection(x, cond), other(x, cond), strict=True):
        assert torch.equal(a, b)


def test_initialising_gives_what_forward_gives(case: Case, request: pytest.FixtureRequest) -> None:
    """The data-dependent pass returns the output of the layer that it has just set."""
    bijection, x, cond = case
    with torch.no_grad():
        z = bijection.initialize(x, cond)
        assert (bijection(x, cond)[0] - z).abs().max() < bound(request, 1e-11)


def test_dtype_moves_and_copies(case: Case) -> None:
    bijection, x, cond = case
    there_and_back = copy.deepcopy(bijection).float().double()
    assert (there_and_back(x, cond)[0] - bijection(x, cond)[0]).abs().max() < 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_device_moves(case: Case) -> None:
    bijection, x, cond = case
    expected, expected_logdet = bijection(x, cond)
    z, logdet = bijection.cuda()(x.cuda(), None if cond is None else cond.cuda())
    assert (z.cpu() - expected).abs().max() < 1e-10
    assert (logdet.cpu() - expected_logdet).abs().max() < 1e-10


def test_forward_changes_no_parameter(case: Case) -> None:
    bijection, x, cond = case
    before = {name: value.clone() for name, value in bijection.state_dict().items()}
    bijection.inverse(bijection(x, cond)[0], cond)
    assert all(torch.equal(value, before[name]) for name, value in bijection.state_dict().items())


def test_decomposition_adds_up(case: Case) -> None:
    bijection, x, cond = case
    z, logdet = forward(bijection, x, cond)
    again, parts = bijection.decompose(x, cond)
    assert (again - z).abs().max() < 1e-11
    assert all(part.shape == (B,) for part in parts.values())
    assert (sum(parts.values()) - logdet).abs().max() < 1e-10
