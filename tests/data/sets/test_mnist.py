"""MNIST and Fashion-MNIST from idx files."""

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from glow_app.data.cache import cached
from glow_app.data.sets.mnist import CLASSES, Mnist
from glow_app.data.source import EmptySplit
from glow_app.data.stream import InOrder, TrainingStream
from glow_app.errors import UserError
from tests.data.layouts import idx, real_data

DIGITS = np.array([5, 0, 4, 1, 9, 2, 1, 3, 1, 4], dtype=np.uint8)
CLOTHES = np.array([9, 0, 0, 3, 0, 2, 7, 2, 5, 5], dtype=np.uint8)


def write(folder: Path, labels: np.ndarray = DIGITS, packed: bool = True, dot: bool = False) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        for kind, array in (("images", images), ("labels", labels)):
            name = f"{part}-{kind}{'.' if dot else '-'}idx{array.ndim}-ubyte"
            content = idx(array)
            (folder / (name + ".gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return images


@pytest.mark.parametrize(("packed", "dot"), [(True, False), (False, False), (False, True)])
def test_pixels_are_padded_with_zeros(tmp_path: Path, packed: bool, dot: bool) -> None:
    images = torch.from_numpy(write(tmp_path, packed=packed, dot=dot))
    train, val, test = (Mnist(tmp_path, split, validation=3) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (7, 3, 10)
    assert train[0].shape == train.image_shape == (1, 32, 32)
    assert torch.equal(val[1][0, 2:30, 2:30], images[8])
    assert int(val[1].sum()) == int(images[8].sum())
    assert torch.equal(test.fetch([4, 2]), torch.stack([test[4], test[2]]))
    assert val.classes is not None
    assert val.classes.tolist() == [3, 1, 4]
    assert (val.item_name(0), test.item_name(0)) == ("train 7", "test 0")


def test_grey_may_be_repeated_in_three_channels(tmp_path: Path) -> None:
    write(tmp_path)
    colour, grey = Mnist(tmp_path, "test", channels=3), Mnist(tmp_path, "test")
    assert colour[0].shape == colour.image_shape == (3, 32, 32)
    assert torch.equal(colour[0], grey[0].expand(3, 32, 32))
    assert colour.fingerprint() != grey.fingerprint()
    assert torch.equal(pickle.loads(pickle.dumps(colour))[3], colour[3])


def test_torchvision_layout_of_both_sets_side_by_side(tmp_path: Path) -> None:
    write(tmp_path / "MNIST" / "raw")
    write(tmp_path / "FashionMNIST" / "raw", CLOTHES)
    assert Mnist(tmp_path, "test").class_names == CLASSES["mnist"]
    fashion = Mnist(tmp_path, "train", "fashion_mnist", validation=1)
    assert (fashion.name, fashion.class_names[9]) == ("fashion_mnist", "Ankle boot")
    with pytest.raises(UserError, match="set data=fashion_mnist"):
        Mnist(tmp_path / "FashionMNIST" / "raw", "train", validation=1)
    with pytest.raises(UserError, match="set data=mnist"):
        Mnist(tmp_path / "MNIST" / "raw", "train", "fashion_mnist", validation=1)
    with pytest.raises(UserError, match=r"wrong level; if .*MNIST.raw is meant"):
        Mnist(tmp_path / "MNIST", "train")


def test_without_validation(tmp_path: Path) -> None:
    write(tmp_path)
    assert len(Mnist(tmp_path, "train", validation=0)) == 10
    with pytest.raises(EmptySplit, match="leaves no validation images"):
        Mnist(tmp_path, "val", validation=0)


DAMAGED = {
    "cut": (lambda whole: whole[:-5], "cut short or damaged"),
    "cut inside": (lambda whole: gzip.decompress(whole)[:-5], r"has 7,851 bytes, its header announces 7,856"),
    "page": (lambda whole: b"<!DOCTYPE html>", "is a web page"),
    "labels": (lambda whole: gzip.compress(idx(DIGITS)), "no idx file of 3 dimensions"),
    "other size": (lambda whole: idx(np.zeros((10, 32, 32), np.uint8)), "of two data sets?"),
    "other number": (lambda whole: idx(np.zeros((9, 28, 28), np.uint8)), "of two data sets?"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(tmp_path: Path, case: str) -> None:
    write(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    damage, says = DAMAGED[case]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=says):
        Mnist(tmp_path, "train", validation=1)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no train-images-idx3-ubyte"):
        Mnist(tmp_path, "train")
    write(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match="t10k-labels-idx1-ubyte"):
        Mnist(tmp_path, "test")


def test_the_real_digits(tmp_path: Path) -> None:
    for kind in ("images-idx3", "labels-idx1"):
        (tmp_path / f"train-{kind}-ubyte.gz").symlink_to(real_data(f"mnist-train-{kind}-ubyte.gz"))
    train, val = Mnist(tmp_path, "train"), Mnist(tmp_path, "val")
    assert (len(train), len(val)) == (55_000, 5_000)
    assert train.classes is not None
    assert train.classes[:8].tolist() == DIGITS[:8].tolist()
    assert torch.bincount(torch.cat([train.classes, torch.as_tensor(val.classes)])).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    with pytest.raises(UserError, match="t10k-images-idx3-ubyte"):
        Mnist(tmp_path, "test")


def test_digits_may_stay_28_pixels_wide(tmp_path: Path) -> None:
    images = torch.from_numpy(write(tmp_path))
    test = Mnist(tmp_path, "test", side=28)
    assert test[3].shape == test.image_shape == (1, 28, 28)
    assert torch.equal(test[3][0], images[3])
    assert test.preprocessing == "28x28"


def test_binarised_digits_are_drawn_anew_in_each_pass(tmp_path: Path) -> None:
    images = torch.from_numpy(write(tmp_path)).double()
    source = cached(Mnist(tmp_path, "test", side=28, binarised=True), tmp_path / "cache", 0, lambda done, total: None)
    stream, evaluation = TrainingStream(source, seed=3), InOrder(source, seed=3)
    passes = [stream.__getitems__([10 * number + i for i in range(10)]).images for number in range(200)]
    assert set(torch.cat(passes).unique().tolist()) == {0, 255}
    whites = torch.zeros(10, 28, 28)
    for number, batch in enumerate(passes):
        whites[[stream.index(10 * number + i) for i in range(10)]] += batch[:, 0] / 255
    standard = (whites / 200 - images / 255) / (images / 255 * (1 - images / 255) / 200 + 1e-6).sqrt()
    assert standard.square().mean().sqrt().item() == pytest.approx(1, abs=0.05)
    first = evaluation.__getitems__([4, 5]).images
    assert torch.equal(first[1:], evaluation.__getitems__([5]).images)
    assert not torch.equal(first, InOrder(source, seed=4).__getitems__([4, 5]).images)
    assert "white at random" in source.preprocessing
