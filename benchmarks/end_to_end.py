"""100 steps from the shell and back: ``glow-train`` on a folder of photographs, beside rosinality's script.

    python -m benchmarks.end_to_end --programs /data/checkouts
    python -m benchmarks.end_to_end --programs /data/checkouts --images /data/faces

Both train L4 K4 width 64 at 64x64 and 5 bits with batches of 16, in a fresh process with the threads that they choose.
Ours decodes the images into its cache first (and once more finds it there), validates, tests, saves checkpoints and
models, and draws samples and curves; rosinality's script decodes as it goes, with four workers, and draws samples. It
runs unchanged but for its width, for which it has no option, and for an argument that torchvision has renamed. Without
``--images`` there are 5,228 drawn faces, JPEGs of 128 pixels.
"""

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from PIL import Image
from rich.table import Table

from benchmarks import report
from benchmarks.timing import Quartiles
from glow_app.data.faces.face import draw_face, sample_factors

STEPS, SIZE, LEVELS, K, WIDTH, BATCH, BITS = 100, 64, 4, 4, 64, 16, 5

N_IMAGES, LARGE = 5228, 128
"""Drawn faces, and their rows and columns."""

RUN_ROSINALITY = f"""
import functools, runpy, sys
import torchvision.utils
import model
model.AffineCoupling = functools.partial(model.AffineCoupling, filter_size={WIDTH})
save = torchvision.utils.save_image
torchvision.utils.save_image = lambda *images, range, **options: save(*images, value_range=range, **options)
runpy.run_path("train.py", run_name="__main__")
"""

THEIRS, OURS, AGAIN = "rosinality", "glow_app", "glow_app, images decoded before"


def draw(folder: Path) -> None:
    """Draws the faces into a folder of JPEGs."""
    folder.mkdir(parents=True)
    for number in range(N_IMAGES):
        pixels = draw_face(sample_factors(0, number), LARGE)
        Image.fromarray(pixels).save(folder / f"{number:06}.jpg", quality=90)


def rosinality(programs: Path, images: Path, scratch: Path) -> list[str]:
    """Its command, run in ``scratch``; one more step, since its first only initialises."""
    (scratch / "sample").mkdir(parents=True)
    for name in ("train.py", "model.py"):
        (scratch / name).symlink_to((programs / "rosinality" / name).resolve())
    (scratch / "classes").mkdir()
    (scratch / "classes" / "all").symlink_to(images.resolve())
    options = {"batch": BATCH, "iter": STEPS + 1, "n_flow": K, "n_block": LEVELS, "n_bits": BITS, "img_size": SIZE}
    written = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    return [sys.executable, "-c", RUN_ROSINALITY, *written, "--affine", "classes"]


def ours(images: Path, cache: Path) -> list[str]:
    """Our command."""
    return [
        *(sys.executable, "-c", "from glow_app.cli import train; train()"),
        *("data=folder", f"data.root={images}", f"data.cache_folder={cache}", f"data.image_size={SIZE}"),
        *(f"data.n_bits={BITS}", "data.flip=true", "model=glow", f"model.n_levels={LEVELS}", f"model.n_steps={K}"),
        *(f"model.width={WIDTH}", "trainer=cpu", f"trainer.batch_size={BATCH}", f"max_steps={STEPS}"),
    ]


def timed(command: Sequence[str], folder: Path) -> dict[str, float]:
    """Runs a command in a folder: seconds on the clock, and of CPU time of it and all processes that it has started.

    Raises:
        RuntimeError: it fails.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command[2]} failed:\n{done.stderr}")
    return {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def main() -> None:
    """Races, prints a table and writes end_to_end_KIND.json."""
    options = report.parser(__doc__)
    options.add_argument("--programs", type=Path, required=True, help="folder with the checkout rosinality/")
    options.add_argument("--images", type=Path, help="a folder of pictures; drawn faces by default")
    options.add_argument("--repeats", type=int, default=3, help="alternated repetitions")
    arguments = options.parse_args()
    facts = report.start(arguments)
    times: dict[str, list[dict[str, float]]] = {THEIRS: [], OURS: [], AGAIN: []}
    with TemporaryDirectory() as name:
        scratch = Path(name)
        images = arguments.images
        if images is None:
            images = scratch / "faces"
            draw(images)
        for number in range(arguments.repeats):
            place = scratch / str(number)
            one: dict[str, Callable[[], list[str]]] = {
                THEIRS: lambda place=place: rosinality(arguments.programs, images, place / THEIRS),
                OURS: lambda place=place: ours(images, place / "cache"),
                AGAIN: lambda place=place: ours(images, place / "cache"),
            }
            for what, command in one.items():
                times[what].append(timed(command(), place / what))
    table = Table("", "seconds", "CPU seconds", "over rosinality (quartiles)", box=None)
    content: dict[str, object] = {}
    for what, found in times.items():
        over = Quartiles.of(a["wall"] / b["wall"] for a, b in zip(found, times[THEIRS], strict=True))
        seconds = {key: median(t[key] for t in found) for key in ("wall", "cpu")}
        table.add_row(what, f"{seconds['wall']:.1f}", f"{seconds['cpu']:.1f}", str(over))
        content[what] = {"seconds": seconds, "over": asdict(over), "all": found}
    report.CONSOLE.print(table)
    content = {"machine": facts, "images": str(arguments.images or f"{N_IMAGES} drawn faces"), "programs": content}
    report.write(report.timed_file(arguments.output, "end_to_end", arguments.device, ".json"), content)


if __name__ == "__main__":
    main()
