"""Nearest training images: exact, and a copy is found."""

import pytest
import torch

from glow_app.evaluation import neighbours
from glow_app.evaluation.neighbours import nearest
from tests.data.arrays import ArraySource


def test_a_copy_is_found() -> None:
    source = ArraySource(50)
    queries = torch.stack([source[7], source[31].flip(2), source[12] ^ 1])
    found = nearest(queries, source, 3, n_bits=8, flip=True)
    assert found.indices[:, 0].tolist() == [7, 31, 12]
    assert found.distances[:, 0].tolist() == [0, 0, 1]
    assert found.mirrored[:, 0].tolist() == [False, True, False]
    assert (found.distances.diff(dim=1) >= 0).all()


def test_mirror_images_count_only_if_wanted() -> None:
    source = ArraySource(50)
    found = nearest(source[31].flip(2)[None], source, 1, n_bits=8, flip=False)
    assert found.distances.item() > 0
    assert not found.mirrored.any()


def test_grey_levels_are_those_the_model_sees() -> None:
    source = ArraySource(20)
    found = nearest((source[5] >> 3 << 3)[None], source, 1, n_bits=5, flip=False)
    assert found.indices.item() == 5
    assert found.distances.item() == 0


@pytest.mark.parametrize("numbers", [1, 192 * 7, 2**22])
def test_as_if_compared_one_by_one(monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    monkeypatch.setattr(neighbours, "CHUNK_NUMBERS", numbers)
    source, queries = ArraySource(40), ArraySource(5, seed=1).fetch(range(5))
    told: list[tuple[int, int]] = []
    found = nearest(queries, source, 4, n_bits=8, flip=False, progress=lambda done, total: told.append((done, total)))
    difference = queries[:, None].long() - source.fetch(range(40))[None].long()
    squares = difference.square().sum((2, 3, 4))
    expected = squares.sort(dim=1, stable=True)
    assert torch.equal(found.indices, expected.indices[:, :4])
    assert torch.equal(found.distances, (expected.values[:, :4].double() / 192).sqrt())
    assert told[-1] == (40, 40)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_of_equally_near_images_the_first() -> None:
    source = ArraySource(20)
    source.fetch = lambda indices: torch.zeros(len(indices), 3, 8, 8, dtype=torch.uint8)  # type: ignore[method-assign]
    found = nearest(source[0][None], source, 3, n_bits=8, flip=True)
    assert found.indices.tolist() == [[0, 1, 2]]
    assert not found.mirrored.any()


def test_fewer_images_than_asked_for() -> None:
    assert nearest(ArraySource(5).fetch(range(5)), ArraySource(2), 3, n_bits=8, flip=True).indices.shape == (5, 2)
