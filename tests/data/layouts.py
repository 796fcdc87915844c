"""Writes small data sets in the layouts of the real ones; and finds the real ones where they are present."""

import io
import os
import pickle
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

REAL_DATA = Path(os.environ.get("GLOW_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def real_data(name: str) -> Path:
    """A file of the real data; skips the test where it is absent."""
    path = REAL_DATA / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {REAL_DATA} (set GLOW_REAL_DATA)")
    return path


def picture(seed: int, height: int, width: int) -> Image.Image:
    """A smooth random picture: survives JPEG almost unchanged, and differs from every other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def encode(image: Image.Image, kind: str) -> bytes:
    """The image as a file of that format."""
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=95)
    return buffer.getvalue()


CELEBA_COLUMNS = ("Male", "Smiling", "Young")


def write_celeba(
    root: Path,
    partition: Sequence[int] = (0, 0, 0, 1, 2),
    size: tuple[int, int] = (218, 178),
    ends: str = "\n",
) -> Path:
    """CelebA in torchvision's layout, flat in ``root``: image k is 00000{k+1}.jpg of identity 10 + k."""
    folder = root / "img_align_celeba"
    folder.mkdir(parents=True)
    names = [f"{k + 1:06d}.jpg" for k in range(len(partition))]
    for k, name in enumerate(names):
        (folder / name).write_bytes(encode(picture(k, *size), "JPEG"))
    rows = [
        f"{name} {' '.join(f'{1 if (k >> bit) & 1 else -1:2d}' for bit in range(3))}" for k, name in enumerate(names)
    ]
    write_lines(root / "list_attr_celeba.txt", [str(len(names)), " ".join(CELEBA_COLUMNS) + " ", *rows], ends)
    write_lines(root / "list_eval_partition.txt", [f"{n} {p}" for n, p in zip(names, partition, strict=True)], ends)
    write_lines(root / "identity_CelebA.txt", [f"{n} {10 + k}" for k, n in enumerate(names)], ends)
    return root


def write_lines(path: Path, lines: Iterable[str], ends: str = "\n") -> None:
    """A text file with the given line ends (CelebA's own end in carriage return and line feed)."""
    path.write_bytes("".join(line + ends for line in lines).encode())


def zip_folder(folder: Path, target: Path, method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Everything in ``folder``, under its own name, as the released zips have it."""
    with zipfile.ZipFile(target, "w", method, strict_timestamps=False) as archive:
        archive.writestr(f"{folder.name}/", "")
        for path in sorted(folder.iterdir()):
            archive.write(path, f"{folder.name}/{path.name}")
    return target


def write_lmdb(folder: Path, values: dict[bytes, bytes], subdir: bool = True) -> Path:
    """An LMDB directory as LSUN's: key -> encoded image. Without ``subdir`` an LMDB in one file."""
    (folder if subdir else folder.parent).mkdir(parents=True, exist_ok=not subdir)
    opened = lmdb.open(str(folder), map_size=1 << 26, subdir=subdir)
    with opened as environment, environment.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    return folder


def write_cifar(folder: Path, n: int = 4, protocol: int = 2) -> np.ndarray:
    """The pickled version with ``n`` images a batch; uint8 (6 n, 3, 32, 32), the test batch last."""
    folder.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (6 * n, 3072), dtype=np.uint8)
    for k, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        rows = slice(k * n, (k + 1) * n)
        batch = {b"batch_label": name, b"labels": [i % 10 for i in range(k * n, (k + 1) * n)], b"data": pixels[rows]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    return pixels.reshape(-1, 3, 32, 32)


def idx(array: np.ndarray) -> bytes:
    """A uint8 array in the idx format of MNIST."""
    return bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()
