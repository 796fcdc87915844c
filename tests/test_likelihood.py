"""Pixels to bits per dimension and back: the published constants, by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.flows import Glow, initialize
from glow_app.likelihood import (
    bits_per_dim,
    dequantization_noise,
    dequantize,
    dequantize_midpoints,
    log_prob,
    quantize,
    seen,
)
from tests.flows.models import small_glow


class UniformCube(nn.Module):
    """The identity flow with a uniform base over [-1/2, 1/2)^D: density 1, log-density 0."""

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        assert x.min() >= -0.5
        assert x.max() < 0.5
        return torch.zeros(len(x), dtype=x.dtype)


def images(n: int, seed: int = 0, size: int = 8) -> Tensor:
    return torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@pytest.mark.parametrize("n_bits", range(1, 9))
def test_identity_flow_has_exactly_n_bits(n_bits: int) -> None:
    flow: Glow = UniformCube()  # type: ignore[assignment]
    u = dequantization_noise(images(5), 0, torch.arange(5)).double()
    nats = log_prob(flow, images(5), u, n_bits)
    assert bits_per_dim(nats, 3 * 8 * 8).tolist() == pytest.approx([n_bits] * 5, abs=1e-14)


def test_dequantize_by_hand() -> None:
    pixels = torch.tensor([0, 7, 8, 255], dtype=torch.uint8).view(1, 1, 2, 2)
    u = torch.tensor([0.0, 0.5, 0.25, 0.75], dtype=torch.float64).view(1, 1, 2, 2)
    eight = [0 / 256 - 0.5, 7.5 / 256 - 0.5, 8.25 / 256 - 0.5, 255.75 / 256 - 0.5]
    five = [0 / 32 - 0.5, 0.5 / 32 - 0.5, 1.25 / 32 - 0.5, 31.75 / 32 - 0.5]  # 32, not 31, is the divisor
    assert dequantize(pixels, u, 8).flatten().tolist() == eight
    assert dequantize(pixels, u, 5).flatten().tolist() == five
    assert dequantize(pixels, 0.5, 8).dtype == torch.float32


def test_quantize_by_hand() -> None:
    x = torch.tensor([-0.7, -0.5, 0.0, 0.4999, 0.5, 3.0])
    assert quantize(x, 8).tolist() == [0, 0, 128, 255, 255, 255]
    assert quantize(x, 5).tolist() == [0, 0, 128, 248, 248, 248]


@pytest.mark.parametrize("n_bits", [8, 5, 1])
def test_quantize_undoes_dequantize_always(n_bits: int) -> None:
    """In float32, for every grey level, at every value that the noise can take."""
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 1, 1, 2**15)
    every_u = (2 * torch.arange(2**15) + 1).float() / 2**16
    kept = levels >> (8 - n_bits) << (8 - n_bits)
    assert torch.equal(quantize(dequantize(levels, every_u, n_bits), n_bits), kept)


@given(st.integers(1, 8), st.integers(-(2**70), 2**70), st.integers(0, 2**62), st.integers(0, 255))
def test_quantize_undoes_dequantize_for_any_seed_and_position(
    n_bits: int, seed: int, position: int, level: int
) -> None:
    pixels = torch.full((1, 1, 2, 2), level, dtype=torch.uint8)
    x = dequantize(pixels, dequantization_noise(pixels, seed, torch.tensor([position])), n_bits)
    assert x.min() >= -0.5
    assert x.max() < 0.5
    assert torch.equal(quantize(x, n_bits), pixels >> (8 - n_bits) << (8 - n_bits))


@pytest.mark.parametrize("n_bits", [8, 5, 1])
def test_midpoints_are_those_of_256_grey_levels_for_whatever_bits(n_bits: int) -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    x = dequantize_midpoints(pixels, n_bits)
    assert torch.equal(x, (pixels.float() + 0.5) / 256 - 0.5)
    assert torch.equal(quantize(x, n_bits), seen(pixels, n_bits))


def test_an_image_without_the_unseen_bits_has_its_values_in_the_middle_of_their_bins() -> None:
    pixels = images(2)
    pixels[0] = seen(pixels[0], 5)
    x = dequantize_midpoints(pixels, 5)
    assert torch.equal(x[:1], dequantize(pixels[:1], 0.5, 5))
    assert torch.equal(x[1], (pixels[1].float() + 0.5) / 256 - 0.5)


def test_noise_is_midpoints_of_the_unit_interval() -> None:
    u = dequantization_noise(images(200), 0, torch.arange(200))
    assert u.min() > 0
    assert u.max() < 1
    assert abs(u.mean().item() - 0.5) < 0.005
    assert torch.equal(u * 2**16, (u * 2**16).round())


@pytest.mark.parametrize("n_bits", [8, 5])
@pytest.mark.parametrize(("dtype", "noisy"), [(torch.float32, False), (torch.float64, True)])
def test_a_thousand_images_come_back_from_their_latents(n_bits: int, dtype: torch.dtype, noisy: bool) -> None:
    """With noise in float64; in float32 from the centres of the bins (rounding can cross a bin's edge next to it)."""
    glow = small_glow(dtype=dtype, coupling="affine")
    pixels = images(1000)
    u = dequantization_noise(pixels, 0, torch.arange(1000)).to(dtype) if noisy else 0.5
    with torch.no_grad():
        latents, _ = glow(dequantize(pixels, u, n_bits))
        back = quantize(glow.inverse(latents), n_bits)
    assert torch.equal(back, pixels >> (8 - n_bits) << (8 - n_bits))


def test_bits_per_dim_of_a_known_density() -> None:
    assert bits_per_dim(torch.tensor([-12 * math.log(2) * 7.5]), 12).item() == pytest.approx(7.5, abs=1e-6)


def test_a_new_glow_on_natural_looking_images_is_near_six_and_a_half_bits() -> None:
    """The cheap alarm for constants: 8 bits, a freshly initialised model, smooth images."""
    faces = DrawnFaces("train", n_images=256).fetch(range(256))
    torch.manual_seed(0)
    glow = Glow((3, 32, 32), n_levels=3, n_steps=8, width=32, scale="sigmoid")
    u = dequantization_noise(faces, 0, torch.arange(256))
    initialize(glow, dequantize(faces, u, 8))
    with torch.no_grad():
        value = bits_per_dim(log_prob(glow, faces, u, 8), glow.n_dims).mean().item()
    assert 6.4 < value < 6.8  # 6.65 here; it falls with the number of steps, from 7.0 at K=4 to 6.0 at K=32
