"""Counter-based noise: a function of its arguments, and random."""

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


def test_permutation_is_one_and_changes_with_its_position() -> None:
    a, b = (noise.permutation(0, Stream.ORDER, k, 1000) for k in (0, 1))
    assert torch.equal(a.sort().values, torch.arange(1000))
    assert not torch.equal(a, b)
    assert torch.equal(a, noise.permutation(0, Stream.ORDER, 0, 1000))


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64 + 5, -(2**70)])
def test_any_integer_is_a_seed(seed: int) -> None:
    assert torch.isfinite(noise.uniform(seed, Stream.CROP, torch.tensor([2**62]), 3)).all()
