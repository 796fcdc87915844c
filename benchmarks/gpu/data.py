"""Data sets that travel: CIFAR-10 as lossless WebP in parts, celeba64_faces as an archive.

    python -m benchmarks.gpu.data cifar10 FOLDER OUT    # FOLDER holds cifar10_train.npz and cifar10_test.npz
    python -m benchmarks.gpu.data faces FOLDER OUT      # FOLDER is celeba64_faces, in torchvision's layout

Each of the two files of CIFAR-10 has ``webp``, the images one after the other; ``offsets``, where each begins and the
last one ends; ``labels``; and ``names``.
"""

import argparse
import io
import itertools
import pickle
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PARTS = 2
TRAIN_BATCHES = 5
FACES = "celeba64_faces"
LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def pack_cifar10(source: Path, out: Path) -> list[Path]:
    """Writes the images of both splits, training images first, in parts of the same number of bytes."""
    splits = [np.load(source / f"cifar10_{name}.npz") for name in ("train", "test")]
    sizes = np.concatenate([np.diff(split["offsets"]) for split in splits])
    ends = np.cumsum(sizes)
    webp = np.concatenate([split["webp"] for split in splits])
    labels, names = (np.concatenate([split[key] for split in splits]) for key in ("labels", "names"))
    test = np.repeat([False, True], [len(split["labels"]) for split in splits])
    bounds = [int(np.searchsorted(ends, ends[-1] * number / PARTS)) for number in range(PARTS)] + [len(sizes)]
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, (first, last) in enumerate(itertools.pairwise(bounds), start=1):
        rows, start = slice(first, last), int(ends[first] - sizes[first])
        paths.append(out / f"cifar10_{number}_of_{PARTS}.npz")
        np.savez(
            paths[-1],
            webp=webp[start : ends[last - 1]],
            offsets=np.concatenate([[0], ends[rows] - start]),
            labels=labels[rows],
            names=names[rows],
            test=test[rows],
        )
    return paths


def unpack_cifar10(parts: Sequence[Path], root: Path) -> Path:
    """Writes the released layout, ``cifar-10-batches-py``, into ``root``; gives ``root``."""
    if not parts:
        raise FileNotFoundError("no part of CIFAR-10 is here: benchmarks/gpu/pack.sh makes them")
    pixels, labels, names, test = [], [], [], []
    for path in sorted(parts):
        part = np.load(path)
        webp, offsets = part["webp"].tobytes(), part["offsets"]
        files = [webp[start:end] for start, end in itertools.pairwise(offsets)]
        with ThreadPoolExecutor() as threads:
            pixels += list(threads.map(_pixels, files, chunksize=256))
        labels += part["labels"].tolist()
        names += [bytes(name) for name in part["names"]]
        test += part["test"].tolist()
    n_train = test.index(True)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    size = -(-n_train // TRAIN_BATCHES)
    batches = {f"data_batch_{k + 1}": slice(k * size, min(n_train, (k + 1) * size)) for k in range(TRAIN_BATCHES)}
    for batch, rows in {**batches, "test_batch": slice(n_train, None)}.items():
        content = {b"data": np.stack(pixels[rows]), b"labels": labels[rows], b"filenames": names[rows]}
        _pickle(folder / batch, content | {b"batch_label": batch.encode()})
    _pickle(folder / "batches.meta", {b"label_names": [name.encode() for name in LABELS], b"num_vis": 3072})
    return root


def _pixels(webp: bytes) -> np.ndarray:
    """uint8 (3072,): red, green, blue."""
    with Image.open(io.BytesIO(webp)) as image:
        return np.asarray(image.convert("RGB")).transpose(2, 0, 1).ravel()


def _pickle(path: Path, content: dict[bytes, Any]) -> None:
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=2)


def pack_faces(source: Path, out: Path) -> Path:
    """Writes ``faces.zip``."""
    out.mkdir(parents=True, exist_ok=True)
    return Path(shutil.make_archive(str(out / "faces"), "zip", source))


def unpack_faces(archive: Path, root: Path) -> Path:
    """Gives the folder of the faces."""
    shutil.unpack_archive(archive, root / FACES)
    return root / FACES


def main() -> None:
    """Packs."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("what", choices=("cifar10", "faces"))
    options.add_argument("source", type=Path)
    options.add_argument("out", type=Path)
    arguments = options.parse_args()
    if arguments.what == "cifar10":
        made = pack_cifar10(arguments.source, arguments.out)
    else:
        made = [pack_faces(arguments.source, arguments.out)]
    for path in made:
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
