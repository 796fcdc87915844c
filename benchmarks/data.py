"""Feeding: images per second and core, from the cache and from torchvision's data set, transforms and DataLoader.

    python benchmarks/data.py                    # on 2,000 portraits of 178x218 that are drawn for the purpose
    python benchmarks/data.py --folder FOLDER    # on the images of a folder

Both give batches of uint8 images at 64x64, shuffled, preprocessed as CelebA's (central 148, antialiased bilinear).
A core's share is CPU time, loader processes included: it does not depend on what else the machine is doing.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2 as transforms

from glow_app.data.cache import cached
from glow_app.data.faces.face import draw_face, sample_factors
from glow_app.data.image import open_image, to_tensor
from glow_app.data.source import ImageSource
from glow_app.data.stream import Batch, StreamBatches, TrainingStream
from glow_app.data.transforms import celeba_aligned

SIZE, CROP, BATCH = 64, 148, 64
RESULTS = Path(__file__).parent / "results"


class AlignedFaces(ImageSource):
    """The images of a folder, preprocessed as CelebA's."""

    name = "aligned"
    split = "train"
    image_shape = (3, SIZE, SIZE)
    preprocessing = f"central {CROP}, antialiased bilinear to {SIZE}x{SIZE}"

    def __init__(self, folder: Path) -> None:
        self.files = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".png"))

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        image = open_image(self.files[index])
        return to_tensor(celeba_aligned(image, SIZE, SIZE, min(CROP, *image.size)))

    def item_name(self, index: int) -> str:
        return str(self.files[index])

    def content(self) -> dict[str, object]:
        return {"files": [str(path) for path in self.files]}


def keep(batch: Batch) -> Batch:
    """A batch comes out of the stream as it is to be."""
    return batch


def feed_cached(source: ImageSource, n_batches: int, workers: int) -> Iterator[int]:
    """Sizes of batches from the cache."""
    batches = StreamBatches(n_batches, BATCH)
    loader = DataLoader(TrainingStream(source, seed=0), batch_sampler=batches, collate_fn=keep, num_workers=workers)
    for batch in loader:
        yield len(batch.images)


def feed_torchvision(folder: Path, n_batches: int, workers: int) -> Iterator[int]:
    """Sizes of batches from torchvision."""
    with Image.open(next(folder.rglob("*.*g"))) as image:
        crop = min(CROP, *image.size)
    steps = [transforms.CenterCrop(crop), transforms.Resize(SIZE, antialias=True), transforms.PILToTensor()]
    dataset = ImageFolder(str(folder), transforms.Compose(steps))
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, drop_last=True)
    given = 0
    while given < n_batches:
        for images, _ in loader:
            yield len(images)
            given += 1
            if given == n_batches:
                return


def cpu_seconds() -> float:
    """Of this process and of the children that it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def measure(feed: Callable[[], Iterator[int]]) -> tuple[float, float]:
    """Images per second of CPU time, and per second."""
    cpu, wall = cpu_seconds(), time.perf_counter()
    images = sum(feed())
    return images / (cpu_seconds() - cpu), images / (time.perf_counter() - wall)


def draw_portraits(folder: Path, n: int) -> None:
    """JPEGs of 178x218, the size of CelebA's aligned images."""
    (folder / "faces").mkdir(parents=True)
    for index in range(n):
        face = Image.fromarray(draw_face(sample_factors(0, index), 256)).crop((39, 19, 217, 237))
        face.save(folder / "faces" / f"{index:06d}.jpg", quality=95)


def main() -> None:
    """Measures, prints a table and writes results/data.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="images in subfolders, as torchvision's ImageFolder wants them")
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 2])
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    work = Path(tempfile.mkdtemp())
    try:
        folder = arguments.folder or work / "drawn"
        if arguments.folder is None:
            draw_portraits(folder, 2000)
        start = time.perf_counter()
        source = cached(AlignedFaces(folder), work / "cache", workers=0, progress=lambda done, total: None)
        decoded = len(source) / (time.perf_counter() - start)
        report(folder, source, decoded, arguments.workers, arguments.repetitions)
    finally:
        shutil.rmtree(work)


def report(folder: Path, source: ImageSource, decoded: float, workers: list[int], repetitions: int) -> None:
    """Measures both ways of feeding for every number of workers."""
    rows = []
    for n_workers in workers:
        ours, theirs = [], []
        for _ in range(repetitions):  # alternated, so that a slow moment of the machine meets both
            ours.append(measure(lambda n=n_workers: feed_cached(source, 2000, n)))
            theirs.append(measure(lambda n=n_workers: feed_torchvision(folder, 30, n)))
        ratios = [a[0] / b[0] for a, b in zip(ours, theirs, strict=True)]
        rows.append(
            {
                "workers": n_workers,
                "cached_images_per_cpu_second": median(a[0] for a in ours),
                "cached_images_per_second": median(a[1] for a in ours),
                "torchvision_images_per_cpu_second": median(b[0] for b in theirs),
                "torchvision_images_per_second": median(b[1] for b in theirs),
                "ratio_per_core_quartiles": np.quantile(ratios, [0.25, 0.5, 0.75]).tolist(),
            }
        )
    table = Table("workers", "cached, per core", "torchvision, per core", "ratio (quartiles)", box=None)
    for row in rows:
        low, middle, high = row["ratio_per_core_quartiles"]
        cells = [row["cached_images_per_cpu_second"], row["torchvision_images_per_cpu_second"]]
        table.add_row(str(row["workers"]), *(f"{c:,.0f}" for c in cells), f"{middle:.0f} ({low:.0f} - {high:.0f})")
    console = Console()
    console.print(f"{len(source):,} images to {SIZE}x{SIZE}, batches of {BATCH}; images per second of CPU time")
    console.print(table)
    console.print(f"building the cache: {decoded:,.0f} images/s in one process")
    RESULTS.mkdir(exist_ok=True)
    facts = {
        "machine": machine(),
        "images": len(source),
        "drawn": "drawn" in folder.name,
        "cache_built_per_second": decoded,
    }
    (RESULTS / "data.json").write_text(json.dumps({**facts, "rows": rows}, indent=1) + "\n")


def machine() -> dict[str, object]:
    """Processor, cores and versions."""
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        if cpuinfo.exists()
        else []
    )
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main()
