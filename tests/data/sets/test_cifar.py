"""CIFAR-10: pickles, the binary version, splits, and files that are not what they say."""

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from glow_app.data.formats.arrays import load_pickle
from glow_app.data.sets.cifar import CLASSES, Cifar10, Cifar100
from glow_app.data.source import EmptySplit
from glow_app.errors import UserError
from tests.data.layouts import real_data, write_cifar


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickles_give_their_pixels_and_labels(tmp_path: Path, protocol: int) -> None:
    pixels = torch.from_numpy(write_cifar(tmp_path / "cifar-10-batches-py", protocol=protocol))
    train, val, test = (Cifar10(tmp_path, split, validation=6) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (14, 6, 4)
    assert torch.equal(torch.cat([s.fetch(range(len(s))) for s in (train, val, test)]), pixels)
    assert torch.equal(val[3], pixels[17])
    assert val[0].dtype == torch.uint8
    assert val.classes is not None
    assert val.classes.tolist() == [4, 5, 6, 7, 8, 9]
    assert val.classes.dtype == torch.int64
    assert (train.class_names, train.image_shape, train.name) == (CLASSES, (3, 32, 32), "cifar10")
    assert (val.item_name(0), test.item_name(3)) == ("train 14", "test 3")


def test_all_of_train_and_then_no_validation(tmp_path: Path) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py")
    assert len(Cifar10(tmp_path, "train", validation=0)) == 20
    with pytest.raises(EmptySplit, match=r"data\.validation=0 leaves no validation images"):
        Cifar10(tmp_path, "val", validation=0)
    with pytest.raises(UserError, match="choose 0 to 19"):
        Cifar10(tmp_path, "train", validation=20)


def test_the_binary_version_equals_the_pickles(tmp_path: Path) -> None:
    pixels = write_cifar(tmp_path / "p" / "cifar-10-batches-py")
    binary = tmp_path / "b" / "cifar-10-batches-bin"
    binary.mkdir(parents=True)
    for k, name in enumerate([f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]):
        rows = range(4 * k, 4 * k + 4)
        (binary / name).write_bytes(b"".join(bytes([i % 10]) + pixels[i].tobytes() for i in rows))
    for split in ("train", "val", "test"):
        one, two = (Cifar10(tmp_path / root, split, validation=5) for root in ("p", "b"))
        assert torch.equal(one.fetch(range(len(one))), two.fetch(range(len(two))))
        assert torch.equal(torch.as_tensor(one.classes), torch.as_tensor(two.classes))
    (binary / "data_batch_3.bin").write_bytes(bytes(4000))
    with pytest.raises(UserError, match=r"data_batch_3\.bin has 4000 bytes, no multiple of 3073"):
        Cifar10(binary, "train")


def test_a_source_travels_and_its_fingerprint_follows_the_files(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    write_cifar(folder)
    source = Cifar10(folder, "train", validation=5)
    copy = pickle.loads(pickle.dumps(source))
    assert torch.equal(copy[2], source[2])
    assert copy.fingerprint() == source.fingerprint() != Cifar10(folder, "train", validation=4).fingerprint()
    before = source.fingerprint()
    os.utime(folder / "data_batch_1", (1, 1))
    assert Cifar10(folder, "train", validation=5).fingerprint() != before


class RunsOnLoading:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/never",)


def test_a_pickle_that_asks_for_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    for evil in (RunsOnLoading(), {"data": RunsOnLoading()}, {"data": np.array([RunsOnLoading()], dtype=object)}):
        path.write_bytes(pickle.dumps(evil))
        with pytest.raises(UserError, match=r"asks to call ((posix|nt)\.system|numpy\.dtype)"):
            load_pickle(path, "data=cifar10")
    path.write_bytes(pickle.dumps({"f": print}))
    with pytest.raises(UserError, match=r"asks to call builtins\.print"):
        load_pickle(path, "data=cifar10")
    path.write_bytes(b"c_codecs\nencode\n(Vx\nVzlib\ntR.")
    with pytest.raises(UserError, match=r"_codecs\.encode with zlib"):
        load_pickle(path, "data=cifar10")


DAMAGED = {
    "cut": (lambda whole: whole[: len(whole) // 2], "cut short or damaged"),
    "empty": (lambda whole: b"", "is empty"),
    "page": (lambda whole: b"<html>404</html>", "is a web page"),
    "no batch": (lambda whole: pickle.dumps([1, 2]), "holds a list, not a batch"),
    "no labels": (lambda whole: pickle.dumps({"data": np.zeros((1, 3072), np.uint8)}), "has no 'labels', only data"),
    "another size": (
        lambda whole: pickle.dumps({"data": np.zeros((1, 12288), np.uint8), "labels": [1]}),
        "rows of 12288",
    ),
    "floats": (lambda whole: pickle.dumps({"data": np.zeros((1, 3072)), "labels": [1]}), "holds float64 rows"),
    "fewer labels": (
        lambda whole: pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
        "2 images, labels",
    ),
    "many classes": (lambda whole: pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [99]}), "CIFAR-100"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_batches(tmp_path: Path, case: str) -> None:
    write_cifar(tmp_path / "cifar-10-batches-py")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    damage, says = DAMAGED[case]
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=says) as caught:
        Cifar10(tmp_path, "train")
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"get cifar-10-python\.tar\.gz"):
        Cifar10(tmp_path, "train")
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"")
    with pytest.raises(UserError, match="still packed; unpack it there"):
        Cifar10(tmp_path, "train")
    folder = tmp_path / "data" / "torchvision" / "cifar-10-batches-py"
    write_cifar(folder)
    with pytest.raises(UserError, match=rf"wrong level; set data\.root={folder}$"):
        Cifar10(tmp_path / "data", "train")
    (folder / "data_batch_3").unlink()
    (folder / "test_batch").unlink()
    with pytest.raises(UserError, match=f"data_batch_3 missing in {folder}"):
        Cifar10(folder, "train")
    with pytest.raises(UserError, match="test_batch missing"):
        Cifar10(folder, "test")


def test_the_real_part(tmp_path: Path) -> None:
    part = np.load(real_data("cifar10_train_prefix.npz"))
    pixels, index = part["x"].transpose(0, 3, 1, 2), part["index"]
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for k in range(5):
        rows = index // 10_000 == k
        batch = {"data": pixels[rows].reshape(-1, 3072), "labels": part["y"][rows].tolist()}
        (folder / f"data_batch_{k + 1}").write_bytes(pickle.dumps(batch, protocol=2))
    train, val = Cifar10(tmp_path, "train", validation=1000), Cifar10(tmp_path, "val", validation=1000)
    assert (len(train), len(val)) == (7068, 1000)
    assert torch.equal(train.fetch(range(7068)), torch.from_numpy(pixels[:7068]))
    assert val.classes is not None
    assert val.classes.tolist() == part["y"][7068:].tolist()


def test_a_pickle_cannot_reach_numpys_own_constructors(tmp_path: Path) -> None:
    """Object arrays made of raw bytes: NumPy's dtype would be told that these pointers are numbers."""
    write_cifar(tmp_path / "c")

    class ForgedDtype:
        def __reduce__(self) -> tuple[object, ...]:
            return np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0)

    class Forged:
        def __reduce__(self) -> tuple[object, ...]:
            reconstruct = np.empty(0).__reduce__()[0]
            state = (1, (4, 3072), ForgedDtype(), False, b"A" * (4 * 3072 * 8))
            return reconstruct, (np.ndarray, (0,), b"b"), state

    (tmp_path / "c" / "data_batch_1").write_bytes(_pickled(Forged()))
    with pytest.raises(UserError, match=r"asks to call numpy\.dtype\('O8'\), which data never does"):
        Cifar10(tmp_path / "c", "train", validation=1)


def _pickled(data: object) -> bytes:
    return pickle.dumps({b"data": data, b"labels": [0, 1, 2, 3]})


@pytest.mark.parametrize("binary", [False, True])
def test_cifar_100_has_its_fine_classes(tmp_path: Path, binary: bool) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (110, 3072), dtype=np.uint8)
    fine, coarse = [k % 100 for k in range(110)], [k % 20 for k in range(110)]
    root = tmp_path / "data"
    folder = root / ("cifar-100-binary" if binary else "cifar-100-python")
    folder.mkdir(parents=True)
    for name, rows in (("train", range(104)), ("test", range(104, 110))):
        if binary:
            records = [bytes([coarse[k], fine[k]]) + pixels[k].tobytes() for k in rows]
            (folder / f"{name}.bin").write_bytes(b"".join(records))
            continue
        labels = {b"fine_labels": [fine[k] for k in rows], b"coarse_labels": [coarse[k] for k in rows]}
        (folder / name).write_bytes(pickle.dumps({b"data": pixels[list(rows)], **labels}, protocol=2))
    train, val, test = (Cifar100(root, split, validation=6) for split in ("train", "val", "test"))
    assert (len(train), len(val), len(test)) == (98, 6, 6)
    whole = torch.cat([source.fetch(range(len(source))) for source in (train, val, test)])
    assert torch.equal(whole, torch.from_numpy(pixels.reshape(-1, 3, 32, 32)))
    assert torch.as_tensor(val.classes).tolist() == [98, 99, 0, 1, 2, 3]
    assert (len(test.class_names), test.class_names[8], test.class_names[99]) == (100, "bicycle", "worm")
    assert list(test.class_names) == sorted(test.class_names)
    assert train.fingerprint()["source"] == "cifar100"
    with pytest.raises(UserError, match=r"data=cifar10: neither"):
        Cifar10(root, "train")
    with pytest.raises(UserError, match=rf"data=cifar100: .* is the wrong level; set data\.root={root}"):
        Cifar100(tmp_path, "train")
    shutil.rmtree(folder)
    with pytest.raises(UserError, match=r"data=cifar100: neither .* get cifar-100-python\.tar\.gz"):
        Cifar100(root, "train")


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_scalars_of_every_protocol_are_read(tmp_path: Path, protocol: int) -> None:
    pixels = np.arange(4 * 3072).astype(np.uint8).reshape(4, 3072)
    path = tmp_path / "batch"
    for data in (pixels, np.asfortranarray(pixels)):
        batch = {"data": data, "labels": np.array([3, 1, 2, 0], dtype=">i4"), "one": np.float64(0.5)}
        path.write_bytes(pickle.dumps(batch, protocol=protocol))
        loaded = load_pickle(path, "test")
        assert np.array_equal(loaded["data"], pixels)
        assert loaded["labels"].tolist() == [3, 1, 2, 0]
        assert loaded["one"] == 0.5


def test_ragged_labels_are_told(tmp_path: Path) -> None:
    write_cifar(tmp_path / "c")
    batch = {b"data": np.zeros((4, 3072), np.uint8), b"labels": [[0], [1, 2], 3, 4]}
    (tmp_path / "c" / "data_batch_1").write_bytes(pickle.dumps(batch))
    with pytest.raises(UserError, match="holds no rows of numbers"):
        Cifar10(tmp_path / "c", "train", validation=1)
