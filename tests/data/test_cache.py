"""The pixel cache: right, complete or absent, and resumable."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch

from glow_app.data import cache
from glow_app.data.cache import CachedCrops, cache_path, cached, verify
from glow_app.data.image import CorruptImage
from glow_app.errors import UserError
from tests.data.arrays import ArraySource, VaryingSource
from tests.training.runs import configure


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHUNK", 4)


def quiet(done: int, total: int) -> None:
    pass


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_pixels_are_those_of_the_source(tmp_path: Path, workers: int) -> None:
    source = ArraySource(10)
    kept = cached(source, tmp_path, workers, quiet)
    assert len(kept) == 10
    assert torch.equal(kept.fetch([7, 0, 7]), torch.stack([source[7], source[0], source[7]]))
    assert torch.equal(kept[9], source[9])
    assert kept.classes is not None
    assert torch.equal(kept.classes, source.classes)
    verify(kept.folder)


def test_built_once_and_keyed_by_what_the_pixels_depend_on(tmp_path: Path) -> None:
    cached(ArraySource(10), tmp_path, 0, quiet)
    again = ArraySource(10)
    cached(again, tmp_path, 0, quiet)
    assert again.decoded == []
    for other in (ArraySource(10, seed=1), ArraySource(9), ArraySource(10, (3, 4, 4)), ArraySource(10, crop=148)):
        assert cache_path(other, tmp_path) != cache_path(again, tmp_path)
        assert torch.equal(cached(other, tmp_path, 0, quiet)[0], other[0])


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    cached(ArraySource(10), tmp_path, 0, lambda done, total: reports.append((done, total)))
    assert reports == [(0, 10), (4, 10), (8, 10), (10, 10)]


def test_an_interrupted_build_goes_on(tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill_after_two_chunks(done: int, total: int) -> None:
        if done == 8:
            raise Killed

    with pytest.raises(Killed):
        cached(ArraySource(10), tmp_path, 0, kill_after_two_chunks)
    folder = cache_path(ArraySource(10), tmp_path)
    assert not folder.exists()
    building = folder.with_suffix(".building")
    with open(building / "pixels.bin", "ab") as pixels:  # what a kill leaves in the middle of a chunk
        pixels.write(b"torn")
    with open(building / "done.txt", "a") as log:
        log.write('{"chunk": 2, "ke')
    source = ArraySource(10)
    kept = cached(source, tmp_path, 0, quiet)
    assert source.decoded == [8, 9]
    assert torch.equal(kept.fetch(range(10)), ArraySource(10).fetch(range(10)))
    verify(kept.folder)


def test_a_build_whose_pixels_were_lost_starts_again(tmp_path: Path) -> None:
    def kill(done: int, total: int) -> None:
        if done == 8:
            raise InterruptedError

    for damage in ("short", "missing", "torn log"):
        with pytest.raises(UserError):
            cached(ArraySource(10, damage=damage), tmp_path, 0, kill)
        building = cache_path(ArraySource(10, damage=damage), tmp_path).with_suffix(".building")
        if damage == "short":
            os.truncate(building / "pixels.bin", 10)
        elif damage == "missing":
            (building / "pixels.bin").unlink()
        else:  # what a power failure makes of a file that was growing
            (building / "done.txt").write_bytes((building / "done.txt").read_bytes() + bytes(20) + b"\n")
        kept = cached(ArraySource(10, damage=damage), tmp_path, 0, quiet)
        assert torch.equal(kept.fetch(range(10)), ArraySource(10).fetch(range(10)))
        verify(kept.folder)


def test_a_cache_that_was_cut_short_is_told(tmp_path: Path) -> None:
    folder = cached(ArraySource(10), tmp_path, 0, quiet).folder
    os.truncate(folder / "pixels.bin", 100)
    with pytest.raises(UserError, match="is cut short; delete this folder"):
        cached(ArraySource(10), tmp_path, 0, quiet)


def test_corrupt_images_stop_the_build_or_are_left_out(tmp_path: Path) -> None:
    source = ArraySource(10, corrupt=(0, 5, 9))
    with pytest.raises(CorruptImage, match=r"image image-0: damaged; .*data.on_corrupt=skip"):
        cached(source, tmp_path, 2, quiet)
    source.on_corrupt = "skip"
    kept = cached(source, tmp_path, 0, quiet)
    assert kept.skipped == ["image-0: damaged", "image-5: damaged", "image-9: damaged"]
    assert [kept.item_name(i) for i in range(len(kept))] == [f"image-{i}" for i in (1, 2, 3, 4, 6, 7, 8)]
    assert torch.equal(kept.fetch(range(7)), torch.stack([source[i] for i in (1, 2, 3, 4, 6, 7, 8)]))
    assert kept.attributes is not None
    assert kept.attributes[:, 0].tolist() == [0, 1, 0, 1, 1, 0, 1]
    everything = ArraySource(2, corrupt=(0, 1))
    everything.on_corrupt = "skip"
    with pytest.raises(UserError, match="none of the 2 images of split train can be decoded"):
        cached(everything, tmp_path, 0, quiet)


def test_travels_to_workers_without_its_pixels(tmp_path: Path) -> None:
    kept = cached(ArraySource(10), tmp_path, 0, quiet)
    expected = kept.fetch([3])
    kept.source.decoded.clear()  # type: ignore[attr-defined]
    sent = pickle.dumps(kept)
    assert len(sent) < 5_000
    assert torch.equal(pickle.loads(sent).fetch([3]), expected)


def test_damage_is_found(tmp_path: Path) -> None:
    folder = cached(ArraySource(10), tmp_path, 0, quiet).folder
    with open(folder / "pixels.bin", "r+b") as pixels:
        pixels.seek(100)
        byte = pixels.read(1)
        pixels.seek(100)
        pixels.write(bytes([byte[0] ^ 1]))
    with pytest.raises(UserError, match="is damaged; delete this folder"):
        verify(folder)
    (folder / "card.json").write_text("{")
    with pytest.raises(UserError, match=r"no readable card\.json"):
        cached(ArraySource(10), tmp_path, 0, quiet)


@pytest.mark.parametrize("workers", [0, 2])
def test_images_of_different_sizes_are_cached_before_their_crop(tmp_path: Path, workers: int) -> None:
    source = VaryingSource(10)
    kept = cached(source, tmp_path, workers, quiet)
    assert isinstance(kept, CachedCrops)
    for i in range(10):
        assert torch.equal(kept.uncropped(i), source.uncropped(i))
    fractions = torch.rand(3, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(kept.fetch_crops([7, 2, 7], fractions), source.fetch_crops([7, 2, 7], fractions))
    assert torch.equal(kept.fetch([4]), source.fetch([4]))
    assert torch.equal(pickle.loads(pickle.dumps(kept))[3], source[3])
    verify(kept.folder)


def test_an_interrupted_build_of_different_sizes_goes_on(tmp_path: Path) -> None:
    source = VaryingSource(10, corrupt=(1, 8))
    source.on_corrupt = "skip"

    def kill(done: int, total: int) -> None:
        if done == 8:
            raise InterruptedError

    with pytest.raises(UserError):
        cached(source, tmp_path, 0, kill)
    kept = cached(source, tmp_path, 0, quiet)
    assert isinstance(kept, CachedCrops)
    assert len(kept) == 8
    for row, i in enumerate([0, 2, 3, 4, 5, 6, 7, 9]):
        assert torch.equal(kept.uncropped(row), VaryingSource(10).uncropped(i))


def test_card_says_what_is_inside(tmp_path: Path) -> None:
    folder = cached(ArraySource(10, crop=3), tmp_path, 0, quiet).folder
    card = json.loads((folder / "card.json").read_text())
    assert card["n_images"] == 10
    assert card["image_shape"] == [3, 8, 8]
    assert card["fingerprint"]["content"] == {"seed": 0, "crop": 3}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the pixel cache in .*file.*data\.cache_folder"):
        cached(ArraySource(10), tmp_path / "file" / "cache", 0, quiet)


def test_a_user_without_a_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that is started for any user."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 4_242_424)
    with pytest.raises(UserError, match=r"set data\.cache_folder=\.\.\., or HOME"):
        _ = configure().data.cache_path
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert configure().data.cache_path == Path("/elsewhere/glow_app")
