"""Counter-based noise: a function of its arguments, and random."""

import math

import pytest
import torch

from glow_app import noise
from glow_app.noise import Stream

KNOWN_BITS = [[-2152535657050944081, 7960286522194355700], [-3256644268584373322, 6853202724793713792]]


def test_known_bits() -> None:
    """Pinned: a change here would change every run that is resumed and every figure with a seed."""
    bits = noise.random_bits(0, Stream.DEQUANTIZE, torch.tensor([0, 1]), 2)
    assert bits.tolist() == KNOWN_BITS


def test_splitmix64_of_the_reference_implementation() -> None:
    """The mixing function against the published test sequence of SplitMix64 with seed 1234567."""
    state = 1234567 + torch.arange(1, 4) * noise._GAMMA
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert [value % 2**64 for value in noise._mix(state).tolist()] == expected


def test_a_sample_does_not_depend_on_its_batch() -> None:
    whole = noise.uniform(7, Stream.DEQUANTIZE, torch.arange(100), 50)
    parts = torch.cat([noise.uniform(7, Stream.DEQUANTIZE, part, 50) for part in torch.arange(100).split(13)])
    assert torch.equal(whole, parts)
    assert torch.equal(whole[[42]], noise.uniform(7, Stream.DEQUANTIZE, torch.tensor([42]), 50))


@pytest.mark.parametrize("change", [{"seed": 1}, {"stream": Stream.FLIP}, {"positions": torch.arange(1, 65)}])
def test_another_seed_stream_or_position_gives_unrelated_numbers(change: dict) -> None:
    arguments = {"seed": 0, "stream": Stream.DEQUANTIZE, "positions": torch.arange(64)}
    a = noise.normal(n=1000, **arguments).flatten()
    b = noise.normal(n=1000, **(arguments | change)).flatten()
    assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1].item()) < 0.015  # 4 standard errors of 64,000 numbers


def test_uniform_moments_and_independence() -> None:
    u = noise.uniform(0, Stream.DEQUANTIZE, torch.arange(2000), 500).double()
    assert abs(u.mean().item() - 0.5) < 0.0012  # 4 standard errors of a million numbers
    assert abs(u.var().item() - 1 / 12) < 0.0004
    centred = u - 0.5
    for shifted, base in ((centred[1:], centred[:-1]), (centred[:, 1:], centred[:, :-1])):
        assert abs((shifted * base).mean().item()) < 4 / 12 / 1000
    counts = torch.histc(u, 256, 0, 1)
    chi_squared = ((counts - 1e6 / 256) ** 2 / (1e6 / 256)).sum().item()
    assert 160 < chi_squared < 370  # 255 degrees of freedom, 4 standard deviations


def test_normal_moments() -> None:
    z = noise.normal(0, Stream.LATENTS, torch.arange(2000), 500)
    assert abs(z.mean().item()) < 0.004
    assert abs(z.var().item() - 1) < 0.006
    assert abs((z**3).mean().item()) < 0.016
    assert abs((z**4).mean().item() - 3) < 0.04
    assert torch.isfinite(z).all()


def test_normal_numbers_come_in_pairs() -> None:
    """By the formula, number by number in Python, from the same bits."""
    [bits] = noise.random_bits(3, Stream.LATENTS, torch.tensor([12]), 20).tolist()
    expected = []
    for number in bits:
        u, v = ((number >> 32) % 2**32 + 0.5) / 2**32, number % 2**32 / 2**32
        radius = math.sqrt(-2 * math.log(u))
        expected += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
    z = noise.normal(3, Stream.LATENTS, torch.tensor([12]), 40)
    assert torch.allclose(z[0], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


def test_both_of_a_pair_are_normal_and_know_nothing_of_each_other() -> None:
    z = noise.normal(1, Stream.LATENTS, torch.arange(1000), 1000)
    a, b = z[:, ::2].flatten(), z[:, 1::2].flatten()
    for values in (a, b):
        assert abs(values.mean().item()) < 4 / 500_000**0.5
        assert abs(values.var().item() - 1) < 4 * (2 / 500_000) ** 0.5
    for product, deviation in ((a * b, 1.0), ((a.square() - 1) * (b.square() - 1), 2.0)):
        assert abs(product.mean().item()) < 4 * deviation / 500_000**0.5


@pytest.mark.parametrize("n", [1, 2, 7])
def test_normal_numbers_do_not_depend_on_how_many_are_asked_for(n: int) -> None:
    positions = torch.arange(5)
    some = noise.normal(0, Stream.LATENTS, positions, n)
    assert torch.equal(some, noise.normal(0, Stream.LATENTS, positions, 8)[:, :n])


def test_permutation_is_one_and_changes_with_its_position() -> None:
    a, b = (noise.permutation(0, Stream.ORDER, k, 1000) for k in (0, 1))
    assert torch.equal(a.sort().values, torch.arange(1000))
    assert not torch.equal(a, b)
    assert torch.equal(a, noise.permutation(0, Stream.ORDER, 0, 1000))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64 + 5, -(2**70)])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert torch.isfinite(noise.uniform(seed, Stream.CROP, torch.tensor([2**62]), 3)).all()
