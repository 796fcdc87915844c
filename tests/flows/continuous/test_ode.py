"""The neural ODE against independent mathematics: matrix exponentials, autograd's Jacobian, integrals."""

import math
import subprocess
import sys

import pytest
import torch
from torch import Tensor

from glow_app.errors import UserError
from glow_app.flows import CNF, MLPField, NeuralODE, Solver, UNet, VectorField, initialize
from glow_app.flows.continuous.accuracy import accuracy
from glow_app.flows.continuous.ode import probes
from glow_app.flows.continuous.solver import METHODS, NotSolved
from tests.contracts.bijections import perturb

EXACT = Solver("dopri5", rtol=1e-10, atol=1e-10)


class Linear(VectorField):
    """v(t, x) = A x."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = torch.nn.Parameter(matrix)

    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return (x.flatten(1) @ self.matrix.T).view_as(x)


class Stiff(VectorField):
    """v(t, x) = x^3 * rate: it reaches infinity in finite time."""

    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        return 1e6 * x**3


def linear(method: str = "dopri5", **options: object) -> tuple[Linear, NeuralODE]:
    torch.manual_seed(0)
    field = Linear(0.5 * torch.randn(3, 3, dtype=torch.float64))
    return field, NeuralODE(field, Solver(method, rtol=1e-10, atol=1e-10, **options))  # type: ignore[arg-type]


def plane(width: int = 16, change: float = 0.3) -> CNF:
    torch.manual_seed(0)
    flow = CNF((2, 1, 1), MLPField(2, width, n_hidden=2), Solver("dopri5", 1e-6, 1e-6))
    initialize(flow, torch.randn(500, 2, 1, 1) * torch.tensor([0.5, 2.0])[:, None, None])
    perturb(flow.ode, change)
    return flow.eval()


class Counted(MLPField):
    """An MLP that counts its evaluations."""

    evaluations = 0

    def forward(self, t: Tensor, x: Tensor, cond: Tensor | None = None) -> Tensor:
        self.evaluations += 1
        return super().forward(t, x, cond)


def test_a_new_field_is_initialised_by_one_evaluation() -> None:
    field = Counted(2, 16, n_hidden=1)
    ode = NeuralODE(field, Solver())
    x = torch.randn(8, 2, 1, 1)
    assert torch.equal(ode.initialize(x), x)
    assert field.evaluations == 1
    perturb(ode, 0.3)
    assert torch.equal(ode.initialize(x), ode.solve(x, (1.0, 0.0)))


@pytest.mark.parametrize(("method", "error"), [("dopri5", 1e-8), ("dopri8", 1e-8), ("bosh3", 1e-7), ("rk4", 1e-6)])
def test_a_linear_field_is_the_matrix_exponential(method: str, error: float) -> None:
    field, ode = linear(method)
    x = torch.randn(4, 3, 1, 1, dtype=torch.float64)
    z, logdet = ode(x)
    expected = x.flatten(1) @ torch.linalg.matrix_exp(-field.matrix).T
    assert (z.flatten(1) - expected).abs().max() < error
    assert (logdet + field.matrix.trace()).abs().max() < error


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_twice_the_steps_divide_the_error_by_two_to_the_order(method: str, order: int) -> None:
    field, ode = linear(method)
    x = torch.randn(4, 3, 1, 1, dtype=torch.float64)
    expected = x.flatten(1) @ torch.linalg.matrix_exp(field.matrix).T
    errors = []
    for n_steps in (10, 20):
        ode.solver = Solver(method, n_steps=n_steps)
        errors.append((ode.inverse(x).flatten(1) - expected).abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.15)


@pytest.mark.parametrize(("method", "stages"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_evaluations_are_counted(method: str, stages: int) -> None:
    _, ode = linear(method, n_steps=7)
    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    ode.field.register_forward_hook(count)
    ode.inverse(torch.randn(2, 3, 1, 1, dtype=torch.float64))
    assert calls == ode.n_evaluations == 7 * stages


def test_a_looser_tolerance_takes_fewer_evaluations() -> None:
    flow, x = plane(), torch.randn(8, 2, 1, 1)
    taken = []
    for tolerance in (1e-2, 1e-4, 1e-6):
        flow.ode.solver = Solver("dopri5", tolerance, tolerance)
        flow(x)
        taken.append(flow.ode.n_evaluations)
    assert taken == sorted(set(taken))


def test_the_exact_trace_is_that_of_the_jacobian() -> None:
    """A step of Euler changes the log-determinant by the trace of autograd's Jacobian."""
    torch.manual_seed(0)
    ode = NeuralODE(UNet(1, width=8, n_levels=2, n_blocks=1).double(), Solver("euler", n_steps=1))
    perturb(ode)
    x = torch.randn(2, 1, 2, 4, dtype=torch.float64)
    _, logdet = ode.inverse_with_logdet(x)
    for i in range(2):
        at_zero = torch.autograd.functional.jacobian(
            lambda one: ode.field(torch.zeros((), dtype=torch.float64), one), x[i : i + 1]
        )
        assert abs(logdet[i] - at_zero.reshape(8, 8).trace()) < 1e-12


def test_hutchinsons_estimate_is_unbiased() -> None:
    torch.manual_seed(0)
    field = MLPField(6, width=16, n_hidden=1).double()
    solver = Solver("rk4", n_steps=4)
    exact, estimate = NeuralODE(field, solver), NeuralODE(field, solver, "hutchinson")
    perturb(exact, 0.3)
    x = torch.randn(1, 6, 1, 1, dtype=torch.float64)
    drawn = []
    for seed in range(64):
        estimate.probe_seed = seed
        drawn.append(estimate(x)[1])
    drawn = torch.cat(drawn)
    assert drawn.std() > 0
    assert abs(drawn.mean() - exact(x)[1]) < 4 * drawn.std() / 64**0.5


def test_probes_belong_to_their_sample() -> None:
    x = torch.randn(5, 3, 4, 4)
    together = probes(x, 2)
    assert together.shape == (2, 5, 3, 4, 4)
    assert (together.abs() == 1).all()
    assert torch.equal(probes(x[3:4], 2), together[:, 3:4])
    assert not torch.equal(together[0], together[1])
    assert not torch.equal(probes(x.flip(3), 1), probes(x, 1))
    assert not torch.equal(probes(x, 1, seed=1), probes(x, 1))
    assert abs(probes(torch.randn(100, 3, 16, 16), 1).mean()) < 4 / (100 * 768) ** 0.5


def test_the_density_integrates_to_one() -> None:
    flow = plane(change=0.2)  # more of it makes peaks that are narrower than cells
    side, cells = 16.0, 160
    middle = ((torch.arange(cells) + 0.5) / cells - 0.5) * side
    points = torch.stack(torch.meshgrid(middle, middle, indexing="ij"), 2).view(-1, 2, 1, 1)
    with torch.no_grad():
        total = flow.log_prob(points).double().exp().sum() * (side / cells) ** 2
    assert abs(total - 1) < 1e-3


def test_gradients_of_the_adjoint_are_those_through_the_steps() -> None:
    flow, x = plane().double(), torch.randn(16, 2, 1, 1, dtype=torch.float64)
    found = []
    for adjoint in (False, True):
        flow.ode.solver = Solver("dopri5", 1e-7, 1e-7, adjoint=adjoint)
        flow.zero_grad()
        flow.log_prob(x).mean().backward()
        found.append([parameter.grad for parameter in flow.parameters()])
    for through, adjoint in zip(*found, strict=True):
        assert through is not None
        assert adjoint is not None
        assert (through - adjoint).abs().max() < 1e-5


def test_energies_of_a_linear_field() -> None:
    """int |A x|^2 dt / D by the matrix exponential and Simpson's rule; |A|_F^2 / D is constant."""
    field, ode = linear()
    x = torch.randn(4, 3, 1, 1, dtype=torch.float64)
    _, _, energies = ode.forward_with_energies(x)
    times = torch.linspace(0, 1, 201, dtype=torch.float64)
    paths = torch.stack([x.flatten(1) @ torch.linalg.matrix_exp(-s * field.matrix).T for s in times])
    speed = (paths @ field.matrix.T).square().mean(2)
    weights = torch.ones(201, dtype=torch.float64)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    assert ((speed * weights[:, None]).sum(0) / 600 - energies[:, 0]).abs().max() < 1e-7
    assert (energies[:, 1] - field.matrix.square().sum() / 3).abs().max() < 1e-8


def test_accuracy_sees_the_error_of_a_coarse_solver() -> None:
    flow, x = plane(), torch.randn(50, 2, 1, 1)
    fine = accuracy(flow, x)
    flow.ode.solver = Solver("euler", n_steps=3)
    coarse = accuracy(flow, x)
    assert fine.solver_errors.abs().max() < 1e-4
    assert coarse.solver_errors.abs().max() > 1e-2
    assert coarse.n_evaluations == 3
    assert fine.probe_deviation == coarse.probe_deviation == 0.0
    assert flow.ode.solver == Solver("euler", n_steps=3)


def test_an_equation_that_explodes_is_one_line() -> None:
    with pytest.raises(NotSolved, match=r"could not go on|took 2,000 steps"):
        NeuralODE(Stiff(), Solver()).inverse(torch.ones(1, 1, 1, 1))


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchdiffeq", None)
    with pytest.raises(UserError, match=r"needs torchdiffeq: install it with pip install 'glow_app\[continuous\]'"):
        linear()[1].inverse(torch.zeros(1, 3, 1, 1, dtype=torch.float64))


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match=", ".join(METHODS)):
        Solver("heun")
    with pytest.raises(ValueError, match="exact, hutchinson"):
        NeuralODE(MLPField(2, 4, 1), Solver(), trace="none")


def test_classes_change_the_field() -> None:
    torch.manual_seed(0)
    flow = CNF((1, 8, 8), UNet(1, 8, 2, 1, patch=2, n_classes=3), Solver("rk4", n_steps=2), "hutchinson", n_classes=3)
    x = torch.randn(6, 1, 8, 8)
    initialize(flow, x, torch.arange(6) % 3)
    perturb(flow.ode)
    [z], _ = flow(x, torch.zeros(6, dtype=torch.long))
    [other], _ = flow(x, torch.ones(6, dtype=torch.long))
    assert (z - other).abs().max() > 1e-3


def test_the_library_may_be_imported_while_a_model_is_sized_up() -> None:
    """A saved model is first built without data; so is then whatever an import makes."""
    code = """
import torch
from glow_app.flows.continuous.solver import require_torchdiffeq
with torch.device("meta"):
    library = require_torchdiffeq()
print(library.odeint(lambda t, x: -x, torch.ones(1), torch.tensor([0.0, 1.0]), method="dopri5")[-1].item())
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert float(said) == pytest.approx(math.exp(-1), abs=1e-6)
