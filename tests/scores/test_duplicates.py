"""Near-duplicates: signatures estimate angles, and the pairs are those that comparing all would find."""

import math

import pytest
import torch

from glow_app.scores.duplicates import (
    BITS,
    LEAST,
    WORDS,
    groups,
    near_duplicates,
    recall,
    signatures,
    small_pixels,
)


def vectors(n: int, d: int = 192, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def at_cosine(v: torch.Tensor, cosine: float) -> torch.Tensor:
    other = vectors(len(v), v.shape[1], seed=1)
    other -= (other * v).sum(1, keepdim=True) / v.square().sum(1, keepdim=True) * v
    return cosine * v / v.norm(dim=1, keepdim=True) + math.sqrt(1 - cosine**2) * other / other.norm(dim=1, keepdim=True)


def differing(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.tensor(
        [[(int(x) ^ int(y)).bit_count() for x, y in zip(*two, strict=True)] for two in zip(a, b, strict=True)]
    ).sum(1)


def test_bits_differ_as_often_as_the_angle_says() -> None:
    v = vectors(400)
    for cosine in (0.99, 0.9, 0.5, 0.0):
        share = differing(signatures(v), signatures(at_cosine(v, cosine))).double().mean() / BITS
        assert share == pytest.approx(math.acos(cosine) / math.pi, abs=0.01)
    assert torch.equal(signatures(v), signatures(3 * v))
    assert torch.equal(differing(signatures(v), signatures(-v)), torch.full((400,), BITS))


def test_pairs_are_those_of_all_comparisons() -> None:
    v = vectors(300)
    copies = at_cosine(v[:40], 0.995)
    everything = torch.cat([v, copies, v[:5]])
    numbers = 7 * torch.arange(len(everything))
    words = signatures(everything)
    found = near_duplicates(words.unbind(1), numbers)
    most = math.floor(BITS * math.acos(LEAST) / math.pi)
    expected = {
        (7 * i, 7 * j)
        for i in range(len(everything))
        for j in range(i + 1, len(everything))
        if sum((int(a) ^ int(b)).bit_count() for a, b in zip(words[i], words[j], strict=True)) <= most
    }
    assert {(pair.first, pair.second) for pair in found} == expected
    assert len(expected) >= 45
    assert [(pair.first, pair.second, pair.likeness) for pair in found[:5]] == [
        (7 * i, 7 * (340 + i), 1) for i in range(5)
    ]


def test_many_that_are_the_same_are_one_group_in_linear_work() -> None:
    words = signatures(vectors(1).expand(2000, -1))
    pairs = near_duplicates(words.unbind(1), torch.arange(2000))
    assert len(pairs) < 2000 * 17
    assert groups([pair[:2] for pair in pairs]) == [list(range(2000))]


def test_recall_is_that_of_its_formula() -> None:
    assert recall(1.0) == 1
    assert recall(LEAST) > 0.97
    assert recall(0.99) > 0.9995
    assert recall(0.0) == pytest.approx(12 * 2.0**-16, rel=1e-3)


def test_groups_are_connected_pairs() -> None:
    assert groups([(4, 9), (1, 7), (0, 4)]) == [[0, 4, 9], [1, 7]]
    assert groups([]) == []
    assert near_duplicates([torch.zeros(1, dtype=torch.float64)] * WORDS, torch.zeros(1, dtype=torch.int64)) == []


def test_small_pixels_are_means_of_squares() -> None:
    images = torch.arange(2 * 3 * 16 * 16).view(2, 3, 16, 16).remainder(256).to(torch.uint8)
    small = small_pixels(images)
    assert small.shape == (2, 192)
    assert small[1, 64].item() == images[1, 1, :2, :2].double().mean().item()
