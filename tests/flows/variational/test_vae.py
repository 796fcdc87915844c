"""The bound and the estimate of a VAE against closed forms and integrals."""

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from glow_app.errors import UserError
from glow_app.flows import VAE
from glow_app.flows.variational.network import make_networks
from glow_app.flows.variational.observation import Bernoulli, LogisticMixture, Observation, log_mean_exp
from glow_app.flows.variational.posterior import POSTERIORS, make_posterior
from glow_app.flows.variational.vae import grey_levels

SLOPE, SHIFT, STD = 0.8, 0.3, 0.5


def normal(mean: Tensor | float, std: Tensor | float) -> Normal:
    return Normal(torch.as_tensor(mean, dtype=torch.float64), torch.as_tensor(std, dtype=torch.float64))


class LinearGaussian(Observation):
    """x = a z + b + s noise, of x = (bin - 8) / 4: p(x) and p(z | x) are normal."""

    @property
    def n_parameters(self) -> int:
        return 1

    def log_prob(self, parameters: Tensor, bins: Tensor, n_bins: int) -> Tensor:
        return normal(parameters, STD).log_prob(observed(bins)).sum((-3, -2, -1))

    def mean(self, parameters: Tensor) -> Tensor:
        return parameters


def observed(bins: Tensor) -> Tensor:
    return (bins.double() - 8) / 4


class Line(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return (SLOPE * z + SHIFT)[:, :, None, None]


class Pixels(nn.Module):
    """Undoes the scaling of an encoder's input: x."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) + 1) * 8 / 4 - 0.5 / 4 - 2


def linear_gaussian(slope: float, shift: float, std: float) -> VAE:
    """A VAE with q(z | x) = N(slope x + shift, std^2)."""
    posterior = make_posterior("gaussian", 1, 1, n_layers=0)
    vae = VAE((1, 1, 1), Pixels(), posterior, Line(), LinearGaussian(1)).double()
    with torch.no_grad():
        vae.posterior.head.weight.copy_(torch.tensor([[slope], [0.0]], dtype=torch.float64))
        raw = math.log(std) / (1 - abs(math.log(std)) / 5)  # the inverse of the bound on log sigma
        vae.posterior.head.bias.copy_(torch.tensor([shift, raw], dtype=torch.float64))
    return vae


def true_posterior(x: Tensor) -> Normal:
    precision = 1 + SLOPE**2 / STD**2
    return normal(SLOPE * (x - SHIFT) / STD**2 / precision, precision**-0.5)


BINS = torch.arange(16).view(16, 1, 1, 1)
X = observed(BINS).flatten()
EVIDENCE = normal(SHIFT, (SLOPE**2 + STD**2) ** 0.5).log_prob(X)


def assert_estimates(weights: Tensor, truth: Tensor) -> None:
    """The mean of exp(weights) is exp(truth), within 5 of its standard errors."""
    ratio = torch.exp(weights - truth)
    assert ((ratio.mean(0) - 1).abs() < 5 * ratio.std(0) / len(ratio) ** 0.5).all()
    assert ((log_mean_exp(weights) - truth).abs() < 0.15).all()


def noise(n: int, n_images: int = 16, n_dims: int = 1) -> Tensor:
    return torch.randn(n, n_images, n_dims, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_gap_of_the_bound_is_the_divergence_from_the_true_posterior() -> None:
    vae = linear_gaussian(0.5, 0.1, 0.6)
    reached = vae.bound(BINS, 16, noise(100_000)).log_weight
    gap = kl_divergence(normal(0.5 * X + 0.1, 0.6), true_posterior(X))
    assert ((reached.mean(0) - (EVIDENCE - gap)).abs() < 4 * reached.std(0) / 100_000**0.5).all()
    assert (gap > 0.01).all()


def test_with_the_true_posterior_one_sample_is_exact() -> None:
    at = true_posterior(X)
    slope = (at.mean[1] - at.mean[0]) / (X[1] - X[0])
    vae = linear_gaussian(slope.item(), (at.mean[0] - slope * X[0]).item(), at.stddev[0].item())
    assert (vae.bound(BINS, 16, noise(1)).log_weight[0] - EVIDENCE).abs().max() < 1e-9


def test_importance_samples_estimate_the_evidence() -> None:
    vae = linear_gaussian(0.5, 0.1, 0.6)
    weights = vae.bound(BINS, 16, noise(20_000)).log_weight
    assert_estimates(weights, EVIDENCE)
    of_few = [log_mean_exp(part).mean() for part in (weights.view(n, -1, 16) for n in (1, 5, 50))]
    assert of_few[0] < of_few[1] < of_few[2] < EVIDENCE.mean() + 0.001


def test_the_kl_is_the_closed_form() -> None:
    vae = linear_gaussian(0.5, 0.1, 0.6)
    kl = vae.bound(BINS, 16, noise(100_000)).kl
    expected = kl_divergence(normal(0.5 * X + 0.1, 0.6), normal(0.0, 1.0))
    assert ((kl.mean(0) - expected).abs() < 4 * kl.std(0) / 100_000**0.5).all()


def test_the_free_energy_is_annealed_as_published() -> None:
    """Rezende & Mohamed 2015, eq. 20: ln q - beta ln p(x, z)."""
    bound = linear_gaussian(0.5, 0.1, 0.6).bound(BINS, 16, noise(3))
    joint = bound.reconstruction + bound.prior
    assert torch.allclose(bound.free_energy(), -bound.log_weight)
    assert torch.allclose(bound.free_energy(0.01), bound.posterior - 0.01 * joint)


def vae_of(kind: str, n_dims: int, image_shape: tuple[int, int, int] = (1, 2, 2), network: str = "mlp") -> VAE:
    torch.manual_seed(0)
    observation = Bernoulli(1) if image_shape[0] == 1 else LogisticMixture(3, 2)
    encoder, decoder = make_networks(network, image_shape, n_dims, observation.n_parameters, 8, 1, 1)
    posterior = make_posterior(kind, encoder.n_features, n_dims, n_layers=3, width=8)
    vae = VAE(image_shape, encoder, posterior, decoder, observation).double()
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return vae


IMAGES = torch.tensor(list(itertools.product(range(2), repeat=4))).view(16, 1, 2, 2)


@torch.no_grad()
def exact(vae: VAE) -> Tensor:
    """log p of all 16 images of 2x2 pixels, by integration over the one latent."""
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    logits = vae.decoder(z[:, None])
    joint = vae.observation.log_prob(logits[:, None], IMAGES, 2) + normal(0.0, 1.0).log_prob(z)[:, None]
    return torch.trapezoid(joint.exp(), z, dim=0).log()


@pytest.mark.parametrize("kind", ["gaussian", "planar", "radial", "iaf"])
def test_bound_and_evidence_of_all_images_there_are(kind: str) -> None:
    """Integrated over the noise of the posterior, weights are p(x) and their logarithms a bound of log p(x).

    By quadrature: samples would not do, as an untrained posterior is narrower than the true one, and a single one of
    5,000 weights has up to a third of their sum.
    """
    vae = vae_of(kind, 1)
    truth = exact(vae)
    assert abs(torch.logsumexp(truth, 0).item()) < 1e-6
    eps = torch.linspace(-60, 60, 48_001, dtype=torch.float64)
    masses = normal(0.0, 1.0).log_prob(eps)[:, None] + torch.log(eps[1] - eps[0])
    with torch.no_grad():
        weights = vae.bound(IMAGES, 2, eps[:, None, None].expand(-1, 16, 1)).log_weight
    assert (torch.logsumexp(masses + weights, 0) - truth).abs().max() < 1e-5
    assert ((masses.exp() * weights).sum(0) < truth).all()


@pytest.mark.parametrize("kind", POSTERIORS)
@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_every_kind_of_colour_pictures(kind: str, network: str) -> None:
    vae = vae_of(kind, 4, (3, 8, 8), network)
    bins = torch.randint(256, (2, 3, 8, 8))
    bound = vae.bound(bins, 256, noise(5, 2, 4))
    bound.free_energy().mean().backward()
    assert bound.log_weight.shape == (5, 2)
    assert all(parameter.grad is not None for parameter in vae.parameters())
    [z] = vae.encode(bins, 256)
    assert z.shape == (2, 4, 1, 1)
    mean = vae.inverse([z])
    assert mean.shape == (2, 3, 8, 8)
    assert mean.abs().max() <= 0.5


def test_samples_are_functions_of_their_numbers() -> None:
    vae = vae_of("planar", 2)
    assert torch.equal(vae.sample(5, seed=3)[2:4], vae.sample(2, seed=3, first=2))
    assert (vae.sample(2, temperature=0.0).diff(dim=0) == 0).all()


def test_it_is_no_bijection() -> None:
    vae = vae_of("planar", 2)
    for refused in (vae, vae.decompose, vae.log_prob):
        with pytest.raises(UserError, match="no exact density"):
            refused(torch.zeros(1, 1, 2, 2))
    with pytest.raises(UserError, match="no exact density"):
        vae.inverse_with_logdet([torch.zeros(1, 2, 1, 1)])
    with pytest.raises(ValueError, match="x has shape"):
        vae.features(torch.zeros(1, 1, 3, 3), 2)


def test_grey_levels() -> None:
    images = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    assert grey_levels(images, 1).flatten().tolist() == [0, 0, 1, 1]
    assert grey_levels(images, 8).flatten().tolist() == [0, 127, 128, 255]
