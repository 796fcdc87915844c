"""Flow matching against closed forms."""

import torch

from glow_app.flows import CNF, MLPField, Solver, VectorField, initialize
from glow_app.flows.continuous.cnf import flow_matching_loss, spread_times

STD = 0.5
"""Standard deviation of the data, after standardisation too: that of the tests keeps theirs."""


class Gaussian(VectorField):
    """The field of flow matching from N(0, 1) to N(0, s^2), in closed form.

    x_t = (1 - t) x0 + t x1 is normal, and so E[x1 - x0 | x_t] = (t s^2 - (1 - t)) / ((1 - t)^2 + t^2 s^2) x_t.
    """

    def __init__(self, std: float = STD, shift: float = 0.0) -> None:
        super().__init__()
        self.std, self.shift = std, torch.nn.Parameter(torch.tensor(shift))

    def forward(self, t: torch.Tensor, x: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        t = t.reshape(-1, 1, 1, 1)
        slope = (t * self.std**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * self.std**2)
        return slope * x + self.shift


def of_gaussian(field: VectorField) -> CNF:
    """A flow without standardisation."""
    flow = CNF((1, 1, 1), field, Solver("dopri5", 1e-6, 1e-6))
    flow.initialized.fill_(1)
    return flow


def loss(flow: CNF, n: int = 20_000) -> torch.Tensor:
    x = STD * torch.randn(n, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    return flow_matching_loss(flow, x, 0, torch.arange(n))


def test_the_closed_form_has_the_density_of_its_gaussian() -> None:
    flow, x = of_gaussian(Gaussian()), torch.linspace(-2, 2, 9).view(9, 1, 1, 1)
    expected = torch.distributions.Normal(0.0, STD).log_prob(x.flatten())
    with torch.no_grad():
        assert (flow.log_prob(x) - expected).abs().max() < 1e-4


def test_the_loss_of_the_closed_form_is_the_conditional_variance() -> None:
    """int Var[x1 - x0 | x_t] dt, of two normal variables: s^2 / ((1 - t)^2 + t^2 s^2) at each t."""
    with torch.no_grad():
        reached = loss(of_gaussian(Gaussian()))
    t = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    expected = (STD**2 / ((1 - t) ** 2 + t**2 * STD**2)).mean()
    assert abs(reached.mean() - expected) < 4 * reached.std() / len(reached) ** 0.5


def test_the_closed_form_is_a_minimum() -> None:
    field = Gaussian()
    gradient = torch.autograd.grad(loss(of_gaussian(field)).mean(), field.shift)[0]
    assert abs(gradient) < 0.03  # of a mean over 20,000 of numbers with deviation 2
    with torch.no_grad():
        best = loss(of_gaussian(field)).mean()
        for other in (Gaussian(0.7), Gaussian(0.35), Gaussian(shift=0.2)):
            assert loss(of_gaussian(other)).mean() > best + 0.01


def test_a_trained_field_is_the_closed_form() -> None:
    torch.manual_seed(0)
    flow = of_gaussian(MLPField(1, width=32, n_hidden=2))
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)
    for step in range(200):
        x = STD * torch.randn(512, 1, 1, 1)
        optimizer.zero_grad()
        flow_matching_loss(flow, x, 0, torch.arange(512) + 512 * step).mean().backward()
        optimizer.step()
        schedule.step()
    x = torch.linspace(-1, 1, 9).view(9, 1, 1, 1)
    with torch.no_grad():
        for t in (0.1, 0.5, 0.9):
            at = torch.tensor(t)
            assert (flow.ode.field(at, x) - Gaussian()(at, x)).abs().max() < 0.2


def test_the_loss_is_a_function_of_seed_and_position() -> None:
    flow = of_gaussian(Gaussian())
    x, positions = torch.randn(8, 1, 1, 1), torch.arange(8) + 100
    together = flow_matching_loss(flow, x, 3, positions)
    assert torch.equal(flow_matching_loss(flow, x[5:], 3, positions[5:]), together[5:])
    assert not torch.equal(flow_matching_loss(flow, x, 4, positions), together)


def test_times_are_spread_evenly() -> None:
    t = spread_times(5, torch.arange(10**12, 10**12 + 100))
    gaps = torch.cat([t, t.min()[None] + 1]).sort().values.diff()
    assert t.min() > 0 and t.max() < 1
    assert len(set(gaps.mul(1e9).round().tolist())) <= 3
    assert gaps.max() < 0.02


def test_the_standardisation_has_no_gradient() -> None:
    flow = CNF((2, 1, 1), MLPField(2, 8, 1))
    x = 3 * torch.randn(200, 2, 1, 1) + 1
    initialize(flow, x)
    y, logdet = flow.standardisation(x)
    assert y.mean().abs() < 1e-4
    assert abs(y.std() - 1) < 0.01
    assert (logdet - logdet[0]).abs().max() == 0
    assert not [name for name, _ in flow.named_parameters() if "field" not in name]
