"""MintNet: who sees whom, the diagonal, the search, densities that add up to 1, and that it learns."""

import pytest
import torch
from torch.nn import functional as F

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.evaluation.density import Square, log_density
from glow_app.flows import MaskedConv2d, MintLayer, MintNet, Reversed, initialize
from glow_app.likelihood import bits_per_dim, dequantize, log_prob
from tests.contracts.bijections import perturb
from tests.flows.test_emerging import C, H, W, matrix, places


def layer(amount: float = 0.3, n_groups: int = 4, kernel_size: int = 3) -> MintLayer:
    """As if it were trained."""
    torch.manual_seed(0)
    made = MintLayer(C, n_groups, kernel_size).double()
    perturb(made, amount)
    return made


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_who_sees_whom(kernel_size: int) -> None:
    """By brute force, for all pixels and channels: three masked convolutions, one after the other."""
    row, column, channel = (places()[:, None] - places()).unbind(2)  # of the output, less that of the input
    inside = (row.abs() <= kernel_size // 2) & (column.abs() <= kernel_size // 2)
    earlier = (row > 0) | ((row == 0) & (column > 0))
    once = (inside & (earlier | ((row == 0) & (column == 0) & (channel >= 0)))).double()
    expected = once @ once @ once > 0
    made = layer(kernel_size=kernel_size)
    found = matrix(made)
    assert torch.equal(found != 0, expected)
    assert not found.triu(1).any()
    assert (found.diagonal() > 0).all()
    assert torch.equal(matrix(Reversed(made)) != 0, expected.flip(0, 1))


def test_a_kernel_twice_as_wide_as_the_image_sees_all_that_is_earlier() -> None:
    assert torch.equal(matrix(layer(kernel_size=7)) != 0, torch.ones(C * H * W, C * H * W).tril().bool())


@pytest.mark.parametrize("amount", [0.0, 1.0, 10.0])
def test_the_diagonal_is_positive_whatever_is_learned(amount: float) -> None:
    x = 3 * torch.randn(2, C, H, W, dtype=torch.float64)
    assert (layer(amount).scales(x) >= layer(amount).log_t.exp()[:, None, None]).all()


def test_it_is_the_sum_over_groups_of_the_paper() -> None:
    """Equation 4, group by group: t x + sum_i W3_i h(sum_j W2_ij h(W1_j x + b1_j) + b2_i) + b3."""
    made, x = layer(), torch.randn(2, C, H, W, dtype=torch.float64)
    first, second, last = (
        (one.weight * one.earlier + one.weight.abs() * one.diagonal).unflatten(0, (-1, C)).unflatten(2, (-1, C))
        for one in (made.first, made.second, made.last)
    )
    h = [F.elu(F.conv2d(x, first[j, :, 0], b, padding=1)) for j, b in enumerate(made.first.bias.split(C))]
    z = made.log_t.exp()[:, None, None] * x + made.last.bias[:, None, None]
    for i, b in enumerate(made.second.bias.split(C)):
        inside = sum(F.conv2d(one, second[i, :, j], padding=1) for j, one in enumerate(h))
        z = z + F.conv2d(F.elu(inside + b[:, None, None]), last[0, :, i], padding=1)
    assert (made(x)[0] - z).abs().max() < 1e-12


def test_hidden_groups_bend_it_both_ways() -> None:
    """Slopes of the same number may rise and fall, where all signs alike would make the layer convex."""
    torch.manual_seed(0)
    made = MintLayer(1, n_groups=6).double()
    perturb(made, 1.0)
    slopes = made.scales(torch.linspace(-6, 6, 200, dtype=torch.float64)[:, None, None, None]).flatten().diff()
    assert slopes.max() > 1e-3
    assert slopes.min() < -1e-3


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-10), (torch.float32, 1e-3)])
@torch.no_grad()
def test_the_search_ends_and_counts_its_steps(dtype: torch.dtype, error: float) -> None:
    made = layer(0.2).to(dtype)
    x = torch.randn(8, C, H, W, dtype=dtype)
    z, _ = made(x)
    assert (made.inverse(z) - x).abs().max() < error
    assert 2 < made.n_steps < C * H * W


def trained(shape: tuple[int, int, int], spread: float = 1.0, **options: object) -> MintNet:
    torch.manual_seed(0)
    made = MintNet(shape, **{"n_levels": 1, "n_layers": 4, "width": 12} | options).double()  # type: ignore[arg-type]
    labels = torch.arange(64) % made.n_classes if made.n_classes else None
    initialize(made, spread * (torch.rand(64, *shape, dtype=torch.float64) - 0.5), labels)
    perturb(made, 0.1)
    return made.eval()


@pytest.mark.parametrize("shape", [(2, 1, 1), (1, 1, 2), (1, 2, 1)])
def test_the_density_of_two_numbers_adds_up_to_one(shape: tuple[int, int, int]) -> None:
    made, square = trained(shape, spread=4.0), Square(side=16.0, cells=200)
    if shape == (2, 1, 1):
        nats = log_density(made, square.centres().double())
    else:
        with torch.no_grad():
            nats = made.log_prob(square.centres().double().reshape(-1, *shape))
    assert square.integral(nats) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("options", [{}, {"logit": 0.05, "n_classes": 2}, {"n_levels": 2, "memory": "checkpoint"}])
@torch.no_grad()
def test_images_there_and_back(options: dict) -> None:
    made = trained((3, 4, 6), **options)
    x = torch.rand(5, 3, 4, 6, dtype=torch.float64) - 0.5
    labels = torch.arange(5) % 2 if made.n_classes else None
    latents, logdet = made(x, labels)
    assert [tuple(z.shape[1:]) for z in latents] == made.latent_shapes
    assert sum(z[0].numel() for z in latents) == made.n_dims
    assert (made.inverse(latents, labels) - x).abs().max() < 1e-9
    assert all(0 < steps < 60 for steps in made.steps_of_search)
    assert len(made.steps_of_search) == 4 * len(latents)
    _, parts = made.decompose(x, labels)
    assert (sum(part for level in parts for part in level.values()) - logdet).abs().max() < 1e-9


def test_it_learns_faces_and_draws_some() -> None:
    torch.manual_seed(0)
    faces = DrawnFaces("train", 16, n_images=32)
    images = torch.stack([faces[i] for i in range(32)])
    made = MintNet((3, 16, 16), n_levels=2, n_layers=2, width=12)
    initialize(made, dequantize(images, torch.rand(images.shape), 8))
    optimizer = torch.optim.Adam(made.parameters(), lr=5e-3)
    bits: list[float] = []
    for _ in range(25):
        loss = bits_per_dim(log_prob(made, images, torch.rand(images.shape), 8), made.n_dims).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bits.append(loss.item())
    assert bits[-1] < bits[0] - 0.3
    assert torch.isfinite(made.eval().sample(4)).all()


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="kernel_size is 2: a masked kernel has a pixel in its middle"):
        MintLayer(3, 2, kernel_size=2)
    with pytest.raises(ValueError, match="3 and 8 channels are no whole groups of 3"):
        MaskedConv2d(3, 8, 3, 3, torch.ones(1, 1), 1.0)
    with pytest.raises(ValueError, match="memory=reversible would invert layers that search; choose checkpoint"):
        MintNet((3, 8, 8), 1, 1, 8, memory="reversible")
    with pytest.raises(ValueError, match="3 levels halve the image 2 times, but 6x8 is not divisible by 4"):
        MintNet((3, 6, 8), 3, 1, 8)
