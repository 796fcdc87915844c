"""ImageNet32 and 64: the older PNG folders and the newer batches, told apart."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from glow_app.data.image import CorruptImage
from glow_app.data.sets.imagenet import SmallImageNet
from glow_app.data.source import EmptySplit
from glow_app.errors import UserError


def pixels_of(n: int, size: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, 3, size, size), dtype=np.uint8)


def write_older(root: Path, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    parts = pixels_of(7, size), pixels_of(3, size, 1)
    for folder, part in zip((f"train_{size}x{size}", f"valid_{size}x{size}"), parts, strict=True):
        (root / folder).mkdir(parents=True)
        for k, pixels in enumerate(part):
            Image.fromarray(pixels.transpose(1, 2, 0)).save(root / folder / f"{k + 1:07d}.png")
    return parts


def write_newer(root: Path, npz: bool = True, size: int = 32, nested: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Train batches of 2, 3, 2, 3, ... images, labels from 1."""
    train, val = pixels_of(25, size, 2), pixels_of(4, size, 3)
    begin = 0
    jobs = []
    for k in range(1, 11):
        n = 2 + (k - 1) % 2
        jobs.append((f"train_data_batch_{k}", train[begin : begin + n], list(range(begin + 1, begin + n + 1))))
        begin += n
    jobs.append(("val_data", val, [1000, 1, 2, 3]))
    for name, part, labels in jobs:
        folder = root / (f"Imagenet{size}_{name.partition('_')[0]}{'_npz' if npz else ''}" if nested else ".")
        folder.mkdir(parents=True, exist_ok=True)
        batch = {"data": part.reshape(len(part), -1), "labels": labels, "mean": part.mean(axis=0).flatten()}
        if npz:
            np.savez(folder / f"{name}.npz", **batch)
        else:
            (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return train, val


def all_pixels(source: SmallImageNet) -> torch.Tensor:
    return torch.stack([source[i] for i in range(len(source))])


@pytest.mark.parametrize("size", [32, 64])
def test_the_older_distribution(tmp_path: Path, size: int) -> None:
    train, val = write_older(tmp_path, size)
    parts = [SmallImageNet(tmp_path, split, size, validation=2) for split in ("train", "val", "test")]
    assert torch.equal(torch.cat([all_pixels(part) for part in parts[:2]]), torch.from_numpy(train))
    assert torch.equal(all_pixels(parts[2]), torch.from_numpy(val))
    source = parts[2]
    assert (source.name, source.distribution, source.classes) == (f"imagenet{size}", "older", None)
    assert source.preprocessing.startswith(f"older ImageNet{size}")
    assert source.item_name(0) == f"valid_{size}x{size}/0000001.png"
    assert parts[1].item_name(0) == f"train_{size}x{size}/0000006.png"


@pytest.mark.parametrize("npz", [True, False])
@pytest.mark.parametrize("nested", [True, False])
def test_the_newer_distribution(tmp_path: Path, npz: bool, nested: bool) -> None:
    train, val = write_newer(tmp_path, npz, nested=nested)
    parts = [SmallImageNet(tmp_path, split, validation=4) for split in ("train", "val", "test")]
    assert torch.equal(torch.cat([all_pixels(part) for part in parts[:2]]), torch.from_numpy(train))
    assert torch.equal(all_pixels(parts[2]), torch.from_numpy(val))
    assert torch.equal(parts[0][20], parts[0][20])
    assert torch.equal(parts[0][1], torch.from_numpy(train[1]))
    assert torch.as_tensor(parts[1].classes).tolist() == [21, 22, 23, 24]
    assert torch.as_tensor(parts[2].classes).tolist() == [999, 0, 1, 2]
    assert parts[0].preprocessing.startswith("newer ImageNet32")
    assert parts[0].item_name(4) == f"train_data_batch_2{'.npz' if npz else ''} 2"
    copy = pickle.loads(pickle.dumps(parts[0]))
    assert torch.equal(copy[7], parts[0][7])
    assert copy.fingerprint() == parts[0].fingerprint()


def test_a_pickled_source_leaves_its_pixels_behind(tmp_path: Path) -> None:
    write_newer(tmp_path, size=64)
    source = SmallImageNet(tmp_path, "train", 64, validation=4)
    before = len(pickle.dumps(source))
    source[0]
    assert len(pickle.dumps(source)) == before < 20_000


def test_both_distributions_are_never_mixed_up(tmp_path: Path) -> None:
    older, _ = write_older(tmp_path)
    newer, _ = write_newer(tmp_path)
    with pytest.raises(UserError, match=r"holds both distributions.*data\.distribution=older"):
        SmallImageNet(tmp_path, "train")
    one = SmallImageNet(tmp_path, "train", distribution="older", validation=0)
    two = SmallImageNet(tmp_path, "train", distribution="newer", validation=0)
    assert torch.equal(one[0], torch.from_numpy(older[0]))
    assert torch.equal(two[0], torch.from_numpy(newer[0]))
    assert one.preprocessing != two.preprocessing
    assert one.fingerprint() != two.fingerprint()
    with pytest.raises(EmptySplit):
        SmallImageNet(tmp_path, "val", distribution="older", validation=0)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no train_32x32/ or train_data_batch_1 \(\.npz or pickled\) in"):
        SmallImageNet(tmp_path, "train")
    write_older(tmp_path / "deep", 64)
    with pytest.raises(UserError, match=r"holds 64x64 images; set data=imagenet64"):
        SmallImageNet(tmp_path / "deep", "train", 32)
    with pytest.raises(UserError, match=rf"wrong level; set data\.root={tmp_path / 'deep'}$"):
        SmallImageNet(tmp_path, "train", 64)
    with pytest.raises(UserError, match="no train_data_batch_1"):
        SmallImageNet(tmp_path / "deep", "train", 64, distribution="newer")
    write_newer(tmp_path / "new")
    (tmp_path / "new" / "train_data_batch_7.npz").unlink()
    (tmp_path / "new" / "val_data.npz").unlink()
    with pytest.raises(UserError, match=r"train_data_batch_7 \(\.npz or pickled\) missing"):
        SmallImageNet(tmp_path / "new", "train")
    with pytest.raises(UserError, match="val_data"):
        SmallImageNet(tmp_path / "new", "test")
    with pytest.raises(UserError, match="choose one of 32, 64"):
        SmallImageNet(tmp_path, "train", 16)


def test_damaged_files(tmp_path: Path) -> None:
    write_newer(tmp_path)
    path = tmp_path / "val_data.npz"
    whole = path.read_bytes()
    for damage, says in (
        (whole[:-300], "cut short or no npz"),
        (b"<html>", "is a web page"),
        (b"", "cut short or no npz"),
    ):
        path.write_bytes(damage)
        with pytest.raises(UserError, match=says):
            SmallImageNet(tmp_path, "test")
    np.savez(path, data=pixels_of(2, 64).reshape(2, -1), labels=[1, 2])
    with pytest.raises(UserError, match="uint8 rows of 12288 values where uint8 rows of 3072 belong"):
        SmallImageNet(tmp_path, "test")[0]
    np.savez(path, data=pixels_of(1).reshape(1, -1), labels=[0])
    with pytest.raises(UserError, match="no labels from 1 to 1000"):
        SmallImageNet(tmp_path, "test")
    np.savez(path, data=pixels_of(1).reshape(1, -1), labels=np.array([{}], dtype=object))
    with pytest.raises(UserError, match="no npz of plain arrays"):
        SmallImageNet(tmp_path, "test")


def test_png_of_another_size_and_damaged_ones(tmp_path: Path) -> None:
    write_older(tmp_path)
    Image.new("RGB", (64, 64)).save(tmp_path / "valid_32x32" / "0000001.png")
    (tmp_path / "valid_32x32" / "0000002.png").write_bytes(b"")
    source = SmallImageNet(tmp_path, "test", on_corrupt="skip")
    with pytest.raises(UserError, match=r"0000001\.png is 64x64 pixels, not 32x32"):
        source[0]
    with pytest.raises(CorruptImage, match=r"0000002\.png: the file is empty"):
        source[1]
