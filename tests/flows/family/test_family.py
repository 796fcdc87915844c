"""NICE and Real NVP as whole models."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from glow_app.flows import Flow, Logit, MaskedCoupling, Nice, RealNVP, initialize
from glow_app.flows.family.masked import channel_mask, checkerboard
from glow_app.flows.family.real_nvp import DiagonalSqueeze
from glow_app.likelihood import bits_per_dim, dequantize, log_prob
from tests.contracts.bijections import perturb

SHAPE = (3, 8, 8)


def make(name: str, **options: object) -> Flow:
    torch.manual_seed(0)
    if name == "nice":
        return Nice(SHAPE, **{"n_couplings": 3, "n_hidden": 2, "width": 16} | options)  # type: ignore[arg-type]
    return RealNVP(SHAPE, **{"n_levels": 2, "n_blocks": 1, "width": 6} | options)  # type: ignore[arg-type]


def pictures(n: int) -> Tensor:
    """uint8, smooth, all different."""
    torch.manual_seed(1)
    coarse = torch.rand(n, 3, 2, 2)
    return (255 * torch.nn.functional.interpolate(coarse, size=(8, 8), mode="bilinear")).to(torch.uint8)


def initialised(name: str, **options: object) -> Flow:
    flow = make(name, **options).double()
    images = pictures(64)
    initialize(flow, dequantize(images, torch.rand(images.shape, dtype=torch.float64), 8), labels(flow, 64))
    return flow


def labels(flow: Flow, n: int) -> Tensor | None:
    return torch.arange(n) % flow.n_classes if flow.n_classes else None


VARIANTS = [
    ("nice", {}),
    ("nice", {"base": "normal", "logit": 0.05, "n_classes": 2}),
    ("real_nvp", {}),
    ("real_nvp", {"normalisation": "actnorm", "logit": None, "n_classes": 2}),
    ("real_nvp", {"n_levels": 3, "momentum": 0.0}),
]


@pytest.fixture(params=VARIANTS, ids=lambda variant: "-".join([variant[0], *map(str, variant[1].values())]))
def flow(request: pytest.FixtureRequest) -> Flow:
    name, options = request.param
    flow = initialised(name, **options)
    perturb(flow, 0.03)
    return flow.eval()


@torch.no_grad()
def test_inverse_undoes_forward(flow: Flow) -> None:
    x = dequantize(pictures(5), torch.rand(5, *SHAPE, dtype=torch.float64), 8)
    latents, _ = flow(x, labels(flow, 5))
    assert [tuple(z.shape[1:]) for z in latents] == flow.latent_shapes
    assert sum(math.prod(shape) for shape in flow.latent_shapes) == flow.n_dims
    assert (flow.inverse(latents, labels(flow, 5)) - x).abs().max() < 1e-9


@torch.no_grad()
def test_parts_add_up(flow: Flow) -> None:
    x = dequantize(pictures(4), 0.5, 8).double()
    latents, logdet = flow(x, labels(flow, 4))
    again, parts = flow.decompose(x, labels(flow, 4))
    assert all((a - b).abs().max() < 1e-12 for a, b in zip(latents, again, strict=True))
    assert (sum(part for level in parts for part in level.values()) - logdet).abs().max() < 1e-9


@torch.no_grad()
def test_samples_are_functions_of_their_number(flow: Flow) -> None:
    whole = flow.sample(4, 0.7, seed=3, cond=labels(flow, 4))
    assert torch.isfinite(whole).all()
    cond = None if not flow.n_classes else torch.tensor([2 % flow.n_classes])
    assert (flow.sample(1, 0.7, seed=3, cond=cond, first=2)[0] - whole[2]).abs().max() < 1e-9


@pytest.mark.parametrize("name", ["nice", "real_nvp"])
def test_a_new_model_is_near_the_bits_of_noise(name: str) -> None:
    """Neither absurdly good, as wrong constants would make it, nor far from what independent pixels cost."""
    flow, images = initialised(name).eval(), pictures(32)
    bits = bits_per_dim(log_prob(flow, images, torch.rand(images.shape, dtype=torch.float64), 8), flow.n_dims)
    assert 5.0 < bits.mean() < 9.0


@pytest.mark.parametrize(
    ("name", "memory"),
    [("nice", "reversible"), ("nice", "checkpoint"), ("real_nvp", "reversible"), ("real_nvp", "checkpoint")],
)
def test_memory_modes_give_the_same_gradients(name: str, memory: str) -> None:
    options = {} if name == "nice" else {"normalisation": "actnorm" if memory == "reversible" else "batchnorm"}
    found = []
    for mode in ("plain", memory):
        flow = initialised(name, memory=mode, **options)
        perturb(flow, 0.03)
        flow.log_prob(dequantize(pictures(6), 0.5, 8).double()).mean().backward()
        flow.update_statistics()
        found.append([*(p.grad for p in flow.parameters()), *flow.buffers()])
    for a, b in zip(*found, strict=True):
        assert a is not None
        assert b is not None
        assert torch.allclose(a.double(), b.double(), rtol=1e-7, atol=1e-10)


def test_batch_normalisation_cannot_be_reversed() -> None:
    with pytest.raises(ValueError, match="memory=reversible needs normalisation=actnorm"):
        make("real_nvp", memory="reversible")


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match="halve the image 4 times"):
        make("real_nvp", n_levels=5)


@pytest.mark.parametrize("name", ["nice", "real_nvp"])
def test_overfits_a_few_images(name: str) -> None:
    torch.manual_seed(0)
    images = pictures(8)
    options = {"width": 64, "base": "normal"} if name == "nice" else {"width": 16}
    flow = make(name, **options)
    initialize(flow, dequantize(pictures(64), torch.rand(64, *SHAPE), 8))
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    first = None
    for _ in range(60):
        bits = bits_per_dim(log_prob(flow, images, torch.rand(images.shape), 8), flow.n_dims).mean()
        first = bits.item() if first is None else first
        optimizer.zero_grad()
        bits.backward()
        flow.update_statistics()
        optimizer.step()
    with torch.no_grad():
        last = bits_per_dim(log_prob(flow.eval(), images, torch.rand(images.shape), 8), flow.n_dims).mean().item()
    assert last < first - 0.8  # type: ignore[operator]


def test_squeeze_keeps_the_diagonal_in_the_first_half() -> None:
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    kept, leaving = DiagonalSqueeze(2)(x)[0].chunk(2, 1)
    even = checkerboard(4, 4, 0)[0].bool()
    assert set(kept.flatten().tolist()) == set(x[:, :, even].flatten().tolist())
    assert set(leaving.flatten().tolist()) == set(x[:, :, ~even].flatten().tolist())


def test_channel_masks_divide_otherwise_than_checkerboards() -> None:
    """Of the pixels that were one side of the checkerboard, half is in each part of the channel mask."""
    before = checkerboard(4, 4, 0).expand(1, 2, 4, 4)
    after = DiagonalSqueeze(2)(before)[0]
    mask = channel_mask(8, 0)
    assert (after * mask).mean() == (after * (1 - mask)).mean() == 0.25


def test_a_masked_number_stays_and_decides() -> None:
    flow = initialised("real_nvp")
    coupling = next(module for module in flow.modules() if isinstance(module, MaskedCoupling))
    perturb(coupling)
    x = torch.randn(2, *SHAPE, dtype=torch.float64)
    z = coupling.eval()(x)[0]
    kept = coupling.mask.bool().expand_as(x)
    assert torch.equal(z[kept], x[kept])
    assert (z[~kept] != x[~kept]).all()


def test_logit_by_hand() -> None:
    x = torch.tensor([[[[0.3]]]], dtype=torch.float64)
    z, logdet = Logit(0.05)(x)
    p = 0.05 + 0.9 * 0.8
    assert abs(z.item() - math.log(p / (1 - p))) < 1e-12
    assert abs(logdet.item() - math.log(0.9 / (p * (1 - p)))) < 1e-12


def test_nice_in_plain_numpy() -> None:
    """An independent statement of the model: two couplings of one hidden layer, scaling, logistic base."""
    torch.manual_seed(0)
    flow = Nice((1, 2, 3), n_couplings=2, n_hidden=1, width=4).double()
    initialize(flow, torch.rand(16, 1, 2, 3, dtype=torch.float64) - 0.5)
    perturb(flow, 0.3)
    x = torch.rand(5, 1, 2, 3, dtype=torch.float64) - 0.5
    weights = [p.detach().numpy() for p in flow.parameters()]
    h = x.numpy().reshape(5, 6).copy()
    for number in range(2):
        w1, b1, w2, b2 = weights[4 * number : 4 * number + 4]
        changed, deciding = (slice(1, None, 2), slice(0, None, 2))[:: 1 if number == 0 else -1]
        h[:, changed] += np.maximum(h[:, deciding] @ w1.T + b1, 0) @ w2.T + b2
    bias, s = (weight.reshape(6) for weight in weights[8:])
    z = (h + bias) * np.exp(s)
    expected = s.sum() - (np.log1p(np.exp(z)) + np.log1p(np.exp(-z))).sum(1)
    assert np.abs(flow.log_prob(x).detach().numpy() - expected).max() < 1e-12


def test_a_sample_has_its_density_from_one_pass(flow: Flow) -> None:
    """The gradient of the density reaches every parameter, through the inverse."""
    latents, cond = flow.sample_latents(3, 1.0, 0), labels(flow, 3)
    x, logdet = flow.inverse_with_logdet(latents, cond)
    log_q = flow.base.log_prob(latents) - logdet
    assert (log_q - flow.log_prob(x, cond)).abs().max() < 1e-8
    (log_q + x.square().sum((1, 2, 3))).sum().backward()
    assert all(parameter.grad is not None for parameter in flow.parameters())
