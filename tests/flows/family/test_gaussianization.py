"""Gaussianization flows: the marginal layer by a plain formula, tails, rotations, and what an initialised one is."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal, TransformedDistribution, Uniform
from torch.distributions.transforms import AffineTransform, SigmoidTransform

from glow_app.data.sets.points import Points
from glow_app.evaluation.density import Square, as_images, log_density
from glow_app.flows import Gaussianization, MarginalGaussianization, Rotation, initialize
from glow_app.flows.family.marginal import bandwidth, quantiles
from tests.contracts.bijections import perturb

NORMAL = Normal(torch.zeros((), dtype=torch.float64), 1.0)


def marginal(n_dims: int = 3, n_components: int = 6, amount: float = 0.5) -> MarginalGaussianization:
    """As training might leave it: other locations, scales and weights."""
    torch.manual_seed(0)
    layer = MarginalGaussianization(n_dims, n_components).double()
    perturb(layer, amount)
    return layer


def mixture(layer: MarginalGaussianization, dim: int) -> MixtureSameFamily:
    """The distribution of one number, of torch's own parts: a logistic is the logit of a uniform number."""
    scales = layer.log_scales[dim].exp()
    uniform = Uniform(torch.zeros_like(scales), torch.ones_like(scales), validate_args=False)
    transforms = [SigmoidTransform().inv, AffineTransform(layer.locations[dim], scales)]
    logistic = TransformedDistribution(uniform, transforms, validate_args=False)
    return MixtureSameFamily(Categorical(logits=layer.weights[dim]), logistic, validate_args=False)


@torch.no_grad()
def test_the_marginal_layer_is_that_of_torch_distributions() -> None:
    layer = marginal()
    x = torch.linspace(-4, 4, 101, dtype=torch.float64)
    z, logdet = layer(x[:, None].repeat(1, 3)[:, :, None, None])
    expected_logdet = torch.zeros_like(x)
    for dim in range(3):
        by_torch = mixture(layer, dim)
        score = NORMAL.icdf(by_torch.cdf(x))
        expected_logdet += by_torch.log_prob(x) - NORMAL.log_prob(score)
        assert (z[:, dim, 0, 0] - score).abs().max() < 1e-6
    assert (logdet - expected_logdet).abs().max() < 1e-6


@pytest.mark.parametrize("distance", [30.0, 300.0, 3000.0])
@pytest.mark.parametrize("side", [-1, 1])
@torch.no_grad()
def test_the_tails_are_those_of_one_logistic(side: int, distance: float) -> None:
    """At 30 scales 1 - F is 1e-13, which no difference from 1 would tell to six digits; at 3,000 it is no float64.

    There log Phi(z) by log_ndtr has to be log F = -log(1 + e^distance).
    """
    layer = MarginalGaussianization(1, 1).double()
    layer.locations.fill_(0.7)
    layer.log_scales.fill_(math.log(0.2))
    x = torch.full((1, 1, 1, 1), 0.7 + side * 0.2 * distance, dtype=torch.float64)
    z, logdet = layer(x)
    log_tail = torch.nn.functional.logsigmoid(torch.tensor(-distance, dtype=torch.float64))
    assert torch.special.log_ndtr(-side * z).item() == pytest.approx(log_tail.item(), rel=1e-12)
    expected = 2 * log_tail + distance - math.log(0.2) - NORMAL.log_prob(z)
    assert logdet.item() == pytest.approx(expected.item(), abs=1e-6)
    assert layer.inverse(z).item() == pytest.approx(x.item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_stay_finite_in_the_tails(dtype: torch.dtype) -> None:
    layer = marginal().to(dtype)
    x = torch.tensor([-1e4, -100.0, 0.0, 100.0, 1e4], dtype=dtype)[:, None, None, None].repeat(1, 3, 1, 1)
    z, logdet = layer(x.requires_grad_())
    (z.square().sum() - logdet.sum()).backward()
    assert torch.isfinite(z).all() and (z.diff(dim=0) > 0).all()
    for tensor in (x, *layer.parameters()):
        assert tensor.grad is not None and torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
@torch.no_grad()
def test_the_inverse_finds_the_root_to_its_tolerance(dtype: torch.dtype, error: float) -> None:
    """From the tails to the middle, and where the components overlap little, as sharp as training may make them."""
    for amount in (0.1, 0.5, 1.0):
        layer = marginal(amount=amount).to(dtype)
        z = torch.linspace(-8, 8, 201, dtype=dtype)[:, None, None, None].repeat(1, 3, 1, 1)
        x = layer.inverse(z)
        assert (x.diff(dim=0) >= 0).all()
        again, _ = layer(x)
        # An error of x, relative to the numbers of which x is made, is multiplied by the slope.
        size = layer.locations.abs().max() + 40 * layer.log_scales.exp().max()
        assert ((again - z).abs() <= error * (1 + layer.scales(x)) * size).all()


@torch.no_grad()
def test_a_gap_between_components_has_an_inverse() -> None:
    """Two far apart, with half of the weight each: between them F is flat, and Newton's steps leave the bracket."""
    layer = MarginalGaussianization(1, 2).double()
    layer.locations.copy_(torch.tensor([[-5.0, 5.0]]))
    layer.log_scales.fill_(math.log(0.01))
    z = torch.linspace(-3, 3, 20, dtype=torch.float64)[:, None, None, None]
    x = layer.inverse(z)
    assert (layer(x)[0] - z).abs().max() < 1e-11
    assert torch.equal(x.sign(), z.sign())


@pytest.mark.parametrize(("spread", "most"), [(1, 20), (8, 60)])
@torch.no_grad()
def test_a_search_takes_few_steps(spread: float, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer than bisection's 55 as a rule; if scales differ by orders of magnitude, Newton's steps alone never end."""
    torch.manual_seed(0)
    layer = MarginalGaussianization(50, 8).double()
    layer.log_scales.copy_(spread * (0.5 - 2 * torch.rand(50, 8)))
    layer.weights.copy_(spread / 2 * torch.randn(50, 8))
    layer.locations.copy_(2 * torch.randn(50, 8))
    z = torch.linspace(-6, 6, 61, dtype=torch.float64)[:, None, None, None].repeat(1, 50, 1, 1)
    evaluate, steps = layer._logit, []
    monkeypatch.setattr(layer, "_logit", lambda x: steps.append(x) or evaluate(x))
    x = layer.inverse(z)
    assert len(steps) <= most
    assert ((layer(x)[0] - z).abs() <= 1e-13 * (1 + layer.scales(x)) * 40).all()


@torch.no_grad()
def test_a_layer_is_initialised_as_a_kernel_density_estimate() -> None:
    x = torch.randn(50, 2, 1, 1, dtype=torch.float64).exp()
    layer = MarginalGaussianization(2, 50).double()
    layer.initialize(x)
    samples = x.flatten(1).T.sort(1).values
    assert torch.allclose(layer.locations, samples, rtol=1e-12)  # as many components as samples: these
    std = x.flatten(1).std(0, correction=0)
    # The kernel's roughness is 1/6 and its variance pi^2/3; that of a normal second derivative 3 / (8 sqrt(pi)).
    rule = (1 / 6 / (math.pi**4 / 9 * 3 / (8 * math.sqrt(math.pi)) * 50)) ** 0.2
    assert bandwidth(50) == pytest.approx(rule, rel=1e-12)
    assert torch.allclose(layer.log_scales.exp(), rule * std[:, None].expand(2, 50), rtol=1e-4)
    assert not layer.weights.any()


def test_quantiles_of_more_and_of_fewer_points() -> None:
    points = torch.tensor([[3.0], [0.0], [2.0], [1.0]])
    assert quantiles(points, 2).flatten().tolist() == [0.5, 2.5]
    assert quantiles(points, 4).flatten().tolist() == [0, 1, 2, 3]
    assert quantiles(points, 8).flatten().tolist() == [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]


def test_a_number_that_is_constant_is_told() -> None:
    x = torch.randn(20, 3, 1, 1)
    x[:, 1] = 0.5
    with pytest.raises(ValueError, match="channel 1 of 3 has standard deviation 0"):
        initialize(Gaussianization((3, 1, 1), n_layers=2, n_components=4), x)


@pytest.mark.parametrize("n_reflections", [1, 2, 5])
@torch.no_grad()
def test_a_rotation_is_the_product_of_its_reflections(n_reflections: int) -> None:
    torch.manual_seed(0)
    rotation, x = Rotation(5, n_reflections).double(), torch.randn(7, 5, dtype=torch.float64)
    expected = x
    for v in reversed(rotation.v):
        expected = expected - 2 * (expected @ v)[:, None] * v / v.square().sum()
    assert (rotation(x[:, :, None, None])[0].flatten(1) - expected).abs().max() < 1e-12


@pytest.mark.parametrize("n_reflections", [1, 3, 4])
@torch.no_grad()
def test_principal_components_come_first(n_reflections: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(300, 4, dtype=torch.float64) @ torch.randn(4, 4, dtype=torch.float64)
    rotation = Rotation(4, n_reflections, "pca").double()
    covariance = torch.cov(rotation.initialize(x[:, :, None, None]).flatten(1).T, correction=0)
    variances = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    assert torch.allclose(covariance.diagonal()[:n_reflections], variances[:n_reflections])
    rest = covariance - covariance.diagonal().diag()
    assert rest[:n_reflections].abs().max() < 1e-10


def moons(n: int) -> Tensor:
    return as_images(Points("two_moons", "train", 0.2, n_points=n).points.double())


def flow(n_layers: int, trained: float = 0.0, rotation: str = "random") -> Gaussianization:
    torch.manual_seed(0)
    made = Gaussianization((2, 1, 1), n_layers, n_components=32, rotation=rotation).double()
    initialize(made, moons(500))
    perturb(made, trained)
    return made.eval()


@pytest.mark.parametrize("rotation", ["random", "pca"])
def test_untrained_it_is_iterative_gaussianization(rotation: str) -> None:
    """More layers are closer to the data, which none has been trained on."""
    points = moons(1000).flatten(1)
    nats = [-log_density(flow(n, rotation=rotation), points).mean().item() for n in (1, 4, 16)]
    assert nats[0] > nats[1] + 0.03 > nats[2] + 0.03


@pytest.mark.parametrize("trained", [0.0, 0.1])
def test_the_density_of_points_adds_up_to_one(trained: float) -> None:
    square = Square(side=12.0, cells=400)
    assert square.integral(log_density(flow(4, trained), square.centres().double())) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"logit": 0.05, "n_classes": 2}, {"rotation": "pca", "memory": "checkpoint"}])
@torch.no_grad()
def test_flattened_images_there_and_back(options: dict) -> None:
    torch.manual_seed(0)
    made = Gaussianization((2, 3, 2), n_layers=3, n_components=8, **options).double()
    labels = torch.arange(64) % 2 if made.n_classes else None
    initialize(made, torch.rand(64, 2, 3, 2, dtype=torch.float64) - 0.5, labels)
    x = torch.rand(5, 2, 3, 2, dtype=torch.float64) - 0.5
    labels = None if labels is None else labels[:5]
    latents, logdet = made(x, labels)
    assert [tuple(z.shape) for z in latents] == [(5, 12, 1, 1)]
    assert (made.inverse(latents, labels) - x).abs().max() < 1e-9
    _, parts = made.decompose(x, labels)
    assert (sum(part for level in parts for part in level.values()) - logdet).abs().max() < 1e-9


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="memory=reversible would invert layers that search for each number"):
        Gaussianization((2, 1, 1), 2, 4, memory="reversible")
    with pytest.raises(ValueError, match="rotation is 'ica'; choose one of random, pca"):
        Gaussianization((2, 1, 1), 2, 4, rotation="ica")
