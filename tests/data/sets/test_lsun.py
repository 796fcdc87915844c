"""LSUN: LMDB directories, both preprocessings, and downloads that went wrong."""

import errno
import hashlib
import os
import pickle
import shutil
import tarfile
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from glow_app.data.formats import lmdb_store
from glow_app.data.image import CorruptImage, decode_image
from glow_app.data.sets.lsun import Lsun, LsunSquares
from glow_app.data.source import EmptySplit
from glow_app.data.transforms import centre_square_boxed, crop_at, short_side
from glow_app.errors import UserError
from tests.data.layouts import encode, picture, real_data, write_lmdb

SIZES = ((256, 341), (300, 256), (256, 256), (96, 120), (128, 100))


def values(n: int, seed: int = 0) -> dict[bytes, bytes]:
    kinds = ("WEBP", "JPEG")
    return {
        hashlib.sha1(f"{seed} {k}".encode()).hexdigest().encode(): encode(picture(k, *SIZES[k % 5]), kinds[k % 2])
        for k in range(n)
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_lmdb(tmp_path / "here" / "lsun" / "bedroom_train_lmdb", values(10))
    write_lmdb(tmp_path / "here" / "lsun" / "bedroom_val_lmdb", values(3, seed=1))
    return tmp_path / "here" / "lsun"


def test_the_released_val_part_is_test_and_val_is_held_out_of_train(root: Path) -> None:
    train, val, test = (Lsun(root, "bedroom", split, validation=4) for split in ("train", "val", "test"))
    keys = sorted(key.decode() for key in values(10))
    assert [train.item_name(i) for i in range(len(train))] == keys[:6]
    assert [val.item_name(i) for i in range(len(val))] == keys[6:]
    assert [test.item_name(i) for i in range(len(test))] == sorted(key.decode() for key in values(3, seed=1))
    with pytest.raises(EmptySplit):
        Lsun(root, "bedroom", "val", validation=0)


def test_random_crops_are_cut_from_the_short_side_image(root: Path) -> None:
    source = Lsun(root, "bedroom", "train", 64, validation=0)
    stored = values(10)
    for i in range(len(source)):
        whole = source.uncropped(i)
        assert whole.dtype == torch.uint8
        assert min(whole.shape[1:]) == source.uncropped_side == 96
        assert torch.equal(whole, short_side(decode_image(stored[source.item_name(i).encode()]), 96))
        assert torch.equal(source[i], crop_at(whole, 64, 0.5, 0.5))
        assert source[i].shape == source.image_shape == (3, 64, 64)
    assert len({tuple(source.uncropped(i).shape) for i in range(len(source))}) > 1


@pytest.mark.parametrize("size", [96, 128])
def test_pictures_are_centre_squares_boxed(root: Path, size: int) -> None:
    source = LsunSquares(root, "bedroom", "test", size)
    stored = values(3, seed=1)
    for i in range(len(source)):
        image = picture(list(stored).index(source.item_name(i).encode()), *SIZES[0])
        assert image.mode == "RGB"
        assert source[i].shape == (3, size, size)
    assert LsunSquares(root, "bedroom", "test", size, channels=1)[0].shape == (1, size, size)
    assert centre_square_boxed(picture(0, 256, 341), size).shape == (3, size, size)
    assert source.fingerprint() != Lsun(root, "bedroom", "test", size).fingerprint()


def test_one_lmdb_directory_is_split_in_itself(tmp_path: Path) -> None:
    folder = write_lmdb(tmp_path / "church_outdoor_val_lmdb", values(12))
    sizes = [len(Lsun(folder, "church_outdoor", split)) for split in ("train", "val", "test")]
    assert sizes == [10, 1, 1]
    with pytest.raises(UserError, match=r"of another category; set data\.category=church_outdoor"):
        Lsun(folder, "bedroom", "train")
    two = write_lmdb(tmp_path / "mine", values(2))
    with pytest.raises(EmptySplit, match="has 2 images, too few"):
        Lsun(two, "bedroom", "val")


def test_lmdbs_in_one_file(tmp_path: Path) -> None:
    folders, files = tmp_path / "folders", tmp_path / "files"
    for part, n in (("train", 12), ("val", 3)):
        write_lmdb(folders / f"bedroom_{part}_lmdb", values(n))
        write_lmdb(files / f"bedroom_{part}_lmdb", values(n), subdir=False)
    for split in ("train", "val", "test"):
        plain, single = (Lsun(root, "bedroom", split, validation=4) for root in (folders, files))
        assert torch.equal(single.fetch(range(len(single))), plain.fetch(range(len(plain))))
        assert torch.equal(pickle.loads(pickle.dumps(single))[0], plain[0])
    file = files / "bedroom_train_lmdb"
    assert [len(Lsun(file, "bedroom", split)) for split in ("train", "val", "test")] == [10, 1, 1]
    with pytest.raises(UserError, match=r"of another category; set data\.category=bedroom"):
        Lsun(file, "tower", "train")
    with pytest.raises(UserError, match=r"there are bedroom_train_lmdb, bedroom_val_lmdb"):
        Lsun(files, "tower", "train")
    whole = file.read_bytes()
    cut = tmp_path / "cut" / file.name
    cut.parent.mkdir()
    cut.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"bedroom_train_lmdb was cut short"):
        Lsun(cut.parent, "bedroom", "train")
    cut.write_bytes(b"x" * 20_000)
    with pytest.raises(UserError, match=r"bedroom_train_lmdb is a file, not a folder"):
        Lsun(cut, "bedroom", "train")


@pytest.mark.parametrize("cached", [False, True])
def test_the_key_length_of_stylegan_is_no_image(tmp_path: Path, cached: bool) -> None:
    images = {f"64-{k:05d}".encode(): image for k, image in enumerate(values(6).values())}
    write_lmdb(tmp_path / "bedroom_train_lmdb", images | {b"length": b"6"})
    for _ in range(2):
        source = Lsun(tmp_path, "bedroom", "train", validation=1, key_cache=tmp_path / "keys" if cached else None)
        assert [source.item_name(k) for k in range(len(source))] == [f"64-{k:05d}" for k in range(5)]
    write_lmdb(tmp_path / "tower_train_lmdb", images | {b"length": images[b"64-00000"]})
    assert len(Lsun(tmp_path, "tower", "train", validation=1)) == 6  # an image has that key
    several = images | {f"128-{k:05d}".encode(): image for k, image in enumerate(images.values())}
    write_lmdb(tmp_path / "kitchen_train_lmdb", several | {b"length": b"6"})
    with pytest.raises(UserError, match=r"kitchen_train_lmdb holds every image at several sizes \(128, 64\)"):
        Lsun(tmp_path, "kitchen", "train", validation=1)


def test_object_categories_are_called_by_the_bare_name(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "cat", values(4))
    assert len(Lsun(tmp_path, "cat", "train", validation=1)) == 3


def full_disk(file: object, array: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_keys_are_enumerated_once_outside_of_the_lmdb(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = root / "cache" / "deep"
    before = sorted(os.listdir(root / "bedroom_train_lmdb"))
    first = Lsun(root, "bedroom", "train", validation=2, key_cache=cache)
    assert sorted(os.listdir(root / "bedroom_train_lmdb")) == before
    (file,) = cache.iterdir()
    monkeypatch.setattr(lmdb_store.LmdbStore, "_enumerate", lambda self: pytest.fail("enumerated again"))
    again = Lsun(root, "bedroom", "train", validation=2, key_cache=cache)
    assert again.item_name(5) == first.item_name(5)
    assert torch.equal(pickle.loads(pickle.dumps(again))[5], first[5])
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:50])
    assert Lsun(root, "bedroom", "train", validation=2, key_cache=cache).item_name(5) == first.item_name(5)
    file.unlink()
    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(UserError, match=r"cannot write the keys .*No space left on device"):
        Lsun(root, "bedroom", "train", validation=2, key_cache=cache)
    assert list(cache.iterdir()) == []
    monkeypatch.undo()
    (root / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"cannot write the keys .*data\.cache_folder"):
        Lsun(root, "bedroom", "train", validation=2, key_cache=root / "file")


def test_sources_share_an_lmdb_and_survive_a_fork(root: Path) -> None:
    train, val = (Lsun(root, "bedroom", split, validation=4) for split in ("train", "val"))
    expected = train[1], val[2]
    copy = pickle.loads(pickle.dumps(train))
    assert torch.equal(copy[1], expected[0])
    # The parent's environment is open when the worker is forked: it must open its own.
    loader = DataLoader(
        cast("Dataset[torch.Tensor]", train), batch_size=None, num_workers=1, multiprocessing_context="fork"
    )
    assert torch.equal(list(loader)[1], expected[0])
    assert torch.equal(train[1], expected[0])
    assert torch.equal(val[2], expected[1])


def test_damaged_databases(root: Path) -> None:
    path = root / "bedroom_val_lmdb" / "data.mdb"
    whole = path.read_bytes()
    for damage, says in (
        (whole[: len(whole) // 2], "was cut short"),
        (whole[:5000], "was cut short"),
        (b"", "is no LMDB or damaged"),
        (b"x" * 20_000, "is no LMDB or damaged"),
        (b"<html>" + b" " * 20_000, "is a web page"),
    ):
        # Each in a folder of its own: an environment stays open for as long as its process lives.
        folder = root / hashlib.sha1(damage).hexdigest() / "bedroom_val_lmdb"
        folder.mkdir(parents=True)
        (folder / "data.mdb").write_bytes(damage)
        with pytest.raises(UserError, match=says) as caught:
            Lsun(folder.parent, "bedroom", "test")
        assert "\n" not in str(caught.value)
    empty = root / "empty" / "bedroom_val_lmdb"
    empty.mkdir(parents=True)
    with pytest.raises(UserError, match=r"no data\.mdb"):
        Lsun(empty.parent, "bedroom", "test")
    write_lmdb(root / "hollow" / "bedroom_val_lmdb", {})
    with pytest.raises(UserError, match="without entries"):
        Lsun(root / "hollow", "bedroom", "test")


def test_one_damaged_value_is_named(tmp_path: Path) -> None:
    stored = values(4) | {b"zz": b"<html>"}
    write_lmdb(tmp_path / "tower_val_lmdb", stored)
    source = Lsun(tmp_path, "tower", "test", on_corrupt="skip")
    with pytest.raises(CorruptImage, match=r"zz in .*a web page"):
        source[4]
    assert source[3].shape == (3, 64, 64)


def test_folders_that_are_not_there(root: Path) -> None:
    with pytest.raises(UserError, match=r"no bedrom_train_lmdb in .*did you mean data\.category=bedroom\?"):
        Lsun(root, "bedrom", "train")
    with pytest.raises(UserError, match=r"no tower_train_lmdb in .*there are bedroom_train_lmdb, bedroom_val_lmdb"):
        Lsun(root, "tower", "train")
    (root / "tower_train_lmdb.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"tower_train_lmdb\.zip is still zipped; unzip it there"):
        Lsun(root, "tower", "train")
    with pytest.raises(UserError, match=r"is still zipped; unzip it \(unzip tower"):
        Lsun(root / "tower_train_lmdb.zip", "tower", "train")
    shutil.rmtree(root / "bedroom_train_lmdb")
    with pytest.raises(UserError, match=rf"or set data\.root={root / 'bedroom_val_lmdb'} to split"):
        Lsun(root, "bedroom", "train")
    with pytest.raises(UserError, match=rf"wrong level; set data\.root={root}$"):
        Lsun(root.parent, "bedroom", "test")
    (root / "none").mkdir()
    with pytest.raises(UserError, match=r"no kitchen_train_lmdb in .*no LMDB directory at all"):
        Lsun(root / "none", "kitchen", "train")


@pytest.fixture(scope="module")
def real_lsun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lsun_real")
    with tarfile.open(real_data("lsun_layout_sample.tar")) as archive:
        archive.extractall(path, filter="data")
    return path / "lsun_layout_sample"


def test_the_real_samples(real_lsun: Path) -> None:
    for category in ("bedroom", "church_outdoor"):
        source = Lsun(real_lsun, category, "test")
        assert len(source) == 12
        assert all(source.uncropped(i).shape == (3, 96, 96) for i in range(12))
        folder = real_lsun / f"{category}_val_lmdb"
        assert sum(len(Lsun(folder, category, split)) for split in ("train", "val", "test")) == 12
    boxed = torch.stack([LsunSquares(real_lsun, "bedroom", "test", 128)[i] for i in range(12)])
    cropped = torch.stack([Lsun(real_lsun, "bedroom", "test", 64)[i] for i in range(12)])
    hashes = [hashlib.sha256(pixels.numpy().tobytes()).hexdigest()[:16] for pixels in (boxed, cropped)]
    assert hashes == ["0e45ac65e49f09cb", "bfce7bc1f83fe6e2"]


def test_a_strip_is_no_photograph(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "tower_val_lmdb", {b"a": encode(picture(0, 20, 900), "JPEG")})
    with pytest.raises(CorruptImage, match="900 x 20 is a strip"):
        Lsun(tmp_path, "tower", "test")[0]
