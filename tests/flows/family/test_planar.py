"""Planar and radial flows: their constraints, at their edge too, and flows of them in both directions."""

import math

import pytest
import torch
from torch import Tensor

from glow_app.flows import Flow, PlanarFlow, PlanarLayer, RadialFlow, RadialLayer, initialize
from glow_app.flows.family.planar import LEAST_SLOPE, root, slope
from tests.contracts.bijections import perturb

RAW = (-200.0, -30.0, -2.0, 0.0, 3.0, 50.0)
"""From the edge, where a layer would cease to be invertible, to far away from it."""


def points(n: int = 64, n_dims: int = 2, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(n, n_dims, 1, 1, generator=torch.manual_seed(0), dtype=torch.float64)


def planar(raw: float, n_dims: int = 2) -> PlanarLayer:
    """A layer whose ``w.v`` is given."""
    torch.manual_seed(1)
    layer = PlanarLayer(n_dims).double()
    with torch.no_grad():
        layer.v.add_((raw - layer.w @ layer.v) * layer.w / layer.w.square().sum())
    return layer


def radial(raw: float, n_dims: int = 2) -> RadialLayer:
    torch.manual_seed(1)
    layer = RadialLayer(n_dims).double()
    with torch.no_grad():
        layer.raw.fill_(raw)
    return layer


@pytest.mark.parametrize("raw", RAW)
def test_the_constraint_is_the_published_one(raw: float) -> None:
    """Appendix A.1: u.w = -1 + softplus, here with a floor; so it is above -1 whatever is learned."""
    layer = planar(raw, n_dims=3)
    x = points(2, 3)
    h = torch.tanh(x.flatten(1) @ layer.w + layer.b)
    u = ((layer(x)[0] - x).flatten(1) / h[:, None]).detach()
    expected = -1 + LEAST_SLOPE + math.log1p(math.exp(min(raw, 40) + math.log(math.expm1(1 - LEAST_SLOPE))))
    if raw < 40:
        assert torch.allclose(u @ layer.w, torch.full((2,), expected, dtype=torch.float64), atol=1e-9)
    assert (u @ layer.w > -1).all()


@pytest.mark.parametrize("make", [planar, radial])
@pytest.mark.parametrize("raw", RAW)
def test_layers_are_inverted_at_the_edge_too(make: type, raw: float) -> None:
    layer, x = make(raw), points()
    z, logdet = layer(x)
    assert torch.isfinite(logdet).all()
    again, back = layer.inverse_with_logdet(z)
    # An error of z is an error of x by at most 1 / LEAST_SLOPE.
    assert (again - x).abs().max() < 1e-11 * (1 + z.abs().max())
    assert (back + logdet).abs().max() < 1e-9
    jacobian = torch.autograd.functional.jacobian(lambda one: layer(one)[0], x[:1]).reshape(2, 2)
    assert torch.linalg.slogdet(jacobian).logabsdet == pytest.approx(logdet[0].item(), abs=1e-8)
    assert torch.linalg.det(jacobian) > 0


@pytest.mark.parametrize("make", [planar, radial])
def test_float32_inverts_at_the_edge(make: type) -> None:
    layer, x = make(-200.0).float(), points().float()
    z, logdet = layer(x)
    assert torch.isfinite(logdet).all()
    assert (layer.inverse(z) - x).abs().max() < 2e-4


def test_the_root_is_where_bisection_finds_it() -> None:
    t = torch.linspace(-30, 30, 1001, dtype=torch.float64)
    for s in (1e-3, 0.2, 1.0, 5.0, 200.0):
        found = root(t, torch.tensor(s, dtype=torch.float64))
        low, high = t - abs(s - 1) - 1, t + abs(s - 1) + 1
        for _ in range(200):
            middle = (low + high) / 2
            below = middle + (s - 1) * torch.tanh(middle) < t
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        assert (found - low).abs().max() < 1e-12 * (1 + s) / min(s, 1)


def test_what_is_not_finite_ends_the_search() -> None:
    found = root(torch.tensor([torch.inf, torch.nan, 1.0]), torch.tensor(0.5))
    assert torch.isfinite(found).tolist() == [False, False, True]


@pytest.mark.parametrize("layer", [PlanarLayer, RadialLayer])
def test_layers_begin_near_the_identity(layer: type) -> None:
    torch.manual_seed(0)
    x = points(100, 5)
    assert (layer(5).double()(x)[0] - x).abs().max() < 0.2
    assert slope(torch.tensor(0.0)) == pytest.approx(1)


def test_gradients_are_finite_at_the_centre_of_a_radial_layer() -> None:
    layer = radial(-1.0)
    x = layer.centre.detach()[None, :, None, None].requires_grad_()
    for values, logdet in (layer(x), layer.inverse_with_logdet(x)):
        grads = torch.autograd.grad(values.sum() + logdet.sum(), [x, *layer.parameters()])
        assert all(torch.isfinite(grad).all() for grad in grads)


@pytest.mark.parametrize("direction", ["generating", "normalising"])
@pytest.mark.parametrize("kind", [PlanarFlow, RadialFlow])
def test_the_density_of_a_flow_integrates_to_one(kind: type[PlanarFlow], direction: str) -> None:
    torch.manual_seed(0)
    flow = kind((2, 1, 1), n_layers=6, direction=direction).double()
    initialize(flow, points())
    perturb(flow, 0.3)
    at = torch.linspace(-25, 25, 400, dtype=torch.float64)
    x = torch.cartesian_prod(at, at)[:, :, None, None]
    with torch.no_grad():
        total = flow.log_prob(x).exp().sum() * (at[1] - at[0]) ** 2
    assert total == pytest.approx(1, abs=2e-3)
    assert flow.decodes_by_search == (kind is PlanarFlow and direction == "normalising")
    assert_samples_have_their_density(flow)


def assert_samples_have_their_density(flow: Flow) -> None:
    latents = flow.sample_latents(8, 1.0, 0)
    x, logdet = flow.inverse_with_logdet(latents)
    assert torch.allclose(flow.log_prob(x), flow.base.log_prob(latents) - logdet, atol=1e-8)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="direction is 'back'; choose one of generating, normalising"):
        PlanarFlow((2, 1, 1), 2, direction="back")
    with pytest.raises(ValueError, match="memory=reversible would search in every layer; choose checkpoint"):
        RadialFlow((2, 1, 1), 2, memory="reversible")
