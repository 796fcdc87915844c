"""Layers of amortised posteriors: log-determinants against autograd, and densities against integrals."""

from typing import TypeVar

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jacobian

from glow_app.flows import PlanarLayer, RadialLayer
from glow_app.flows.variational.posterior import (
    POSTERIORS,
    AmortisedPlanar,
    AmortisedRadial,
    ConditionalCoupling,
    InverseAutoregressive,
    Posterior,
    PosteriorLayer,
    make_posterior,
)

FEATURES, D = 5, 3


M = TypeVar("M", bound=torch.nn.Module)


def perturbed(module: M) -> M:
    """The module in float64, with weights as if it were trained."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.double().parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def layers() -> list[PosteriorLayer]:
    torch.manual_seed(0)
    return [
        AmortisedPlanar(FEATURES, D),
        AmortisedRadial(FEATURES, D),
        InverseAutoregressive(FEATURES, D, width=16, n_hidden=2),
        ConditionalCoupling(FEATURES, D, width=16, n_hidden=2),
    ]


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_log_determinants_are_autograds(layer: PosteriorLayer) -> None:
    perturbed(layer)
    z, features = torch.randn(7, 2, D, dtype=torch.float64), torch.randn(2, FEATURES, dtype=torch.float64)
    condition = layer.condition(features)
    _, logdet = layer(z, condition)
    assert logdet.shape == (7, 2)
    for sample in range(7):
        for image in range(2):
            one = condition[image : image + 1]
            matrix = jacobian(lambda v, one=one: layer(v[None], one)[0][0], z[sample, image])
            assert abs(torch.linalg.slogdet(matrix).logabsdet - logdet[sample, image]) < 1e-9


@pytest.mark.parametrize("layer", layers(), ids=lambda layer: type(layer).__name__)
def test_every_image_has_its_own_map(layer: PosteriorLayer) -> None:
    perturbed(layer)
    z = torch.randn(D, dtype=torch.float64).expand(4, 2, D)
    moved, _ = layer(z, layer.condition(torch.randn(2, FEATURES, dtype=torch.float64)))
    assert (moved - moved[:1]).abs().max() < 1e-12
    assert (moved[0, 0] - moved[0, 1]).abs().max() > 1e-3
    assert moved[0, 0].diff().abs().min() > 0


def test_amortised_parameters_mean_what_those_of_a_layer_do() -> None:
    z = torch.randn(6, D, dtype=torch.float64)
    planar, radial = PlanarLayer(D).double(), RadialLayer(D).double()
    amortised = perturbed(AmortisedPlanar(FEATURES, D)), perturbed(AmortisedRadial(FEATURES, D))
    pairs = (
        (planar, amortised[0], torch.cat([planar.w, planar.v, planar.b[None]])),
        (radial, amortised[1], torch.cat([radial.centre, radial.log_alpha[None], radial.raw[None]])),
    )
    for layer, other, parameters in pairs:
        expected, logdet = layer(z[:, :, None, None])
        moved, found = other(z, parameters.expand(6, -1))
        assert (moved - expected[:, :, 0, 0]).abs().max() < 1e-12
        assert (found - logdet).abs().max() < 1e-12


@pytest.mark.parametrize("kind", [kind for kind in POSTERIORS if kind != "coupling"])
def test_a_posterior_in_one_dimension_integrates_to_one(kind: str) -> None:
    torch.manual_seed(0)
    posterior = perturbed(make_posterior(kind, FEATURES, 1, n_layers=4, width=8))
    noise = torch.linspace(-9, 9, 20_001, dtype=torch.float64).view(-1, 1, 1).expand(-1, 2, 1)
    with torch.no_grad():
        z, log_q = posterior(torch.randn(2, FEATURES, dtype=torch.float64), noise)
    for image in range(2):
        at, order = z[:, image, 0].sort()
        assert abs(torch.trapezoid(log_q[order, image].exp(), at).item() - 1) < 1e-4


@pytest.mark.parametrize("kind", POSTERIORS)
def test_a_new_posterior_is_nearly_normal(kind: str) -> None:
    torch.manual_seed(0)
    posterior = make_posterior(kind, FEATURES, D, n_layers=8, width=8)
    noise = torch.randn(100, 2, D)
    z, _ = posterior(torch.zeros(2, FEATURES), noise)
    assert isinstance(posterior, Posterior)
    assert len(posterior.layers) == (0 if kind == "gaussian" else 8)
    assert torch.isfinite(z).all()
    assert 0.3 < z.std() < 3


@pytest.mark.parametrize(("kind", "moved"), [(InverseAutoregressive, range(D)), (ConditionalCoupling, range(D // 2))])
def test_all_numbers_that_a_layer_moves_see_the_image(kind: type, moved: range) -> None:
    """With the last layer of the network at its start, zero, too: the image has a way of its own."""
    layer = perturbed(kind(FEATURES, D, width=8, n_hidden=1))
    last = layer.last if isinstance(layer, ConditionalCoupling) else layer.network.layers[-1]
    torch.nn.init.zeros_(last.weight)

    def image(features: Tensor) -> Tensor:
        return layer(torch.zeros(1, D, dtype=torch.float64), layer.condition(features[None]))[0][0]

    seen = jacobian(image, torch.randn(FEATURES, dtype=torch.float64))
    assert (seen[list(moved)].abs().amax(1) > 1e-6).all()


def test_what_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of gaussian, planar, radial, iaf, coupling"):
        make_posterior("maf", 4, 2, n_layers=0)
    with pytest.raises(ValueError, match="at least 2, not 1"):
        make_posterior("coupling", 4, 1, n_layers=1)
