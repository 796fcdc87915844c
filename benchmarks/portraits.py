"""Photos of people that a model has not seen: how many are aligned, known to it, and edited within its limits.

    python -m benchmarks.portraits /data/portraits
    python -m benchmarks.portraits /data/portraits --checkpoint runs/... --attributes Smiling Eyeglasses

Each photo goes the way of ``glow-edit align=true``: its face is found and turned, scaled and cropped so that the eyes
lie where those of the training images do. "Aligned" are photos in which exactly one face is found, and whose eyes,
found anew in the picture, are within 2 pixels (of 64) of their place. "Natural" at an amount are those whose picture is
finite and within the limits of ``glow_app.evaluation.limits``. Takes the extra [align].
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.table import Table
from torch import Tensor

import glow_app
from benchmarks import report
from glow_app.data.alignment import Eyes, of_eyes, take
from glow_app.data.landmarks import find_faces
from glow_app.data.picture import open_photo, picture_files
from glow_app.evaluation.limits import Limits, usual
from glow_app.latents.directions import Directions
from glow_app.model import Model

NEAR = 2 / 64
"""How far eyes may be from their place, as a fraction of the picture's width."""

LARGE = 256
"""Side, in pixels, of the picture in which the eyes are found anew."""


def aligned(path: Path, eyes: Eyes, side: int) -> tuple[int, float | None, Tensor | None]:
    """Finds the faces of a photo and aligns the only one.

    Returns:
        the number of faces; the larger distance of an eye to its place, as a fraction of the picture's width, infinite
        if no face is found in the picture; the picture, uint8 (3, H, W). The latter are None if there is not one face.
    """
    photo = open_photo(path, 3)
    faces = find_faces(photo)
    if len(faces) != 1:
        return len(faces), None, None
    picture = take(photo, of_eyes(faces[0].eyes, eyes, side, side), side, side)
    large = take(photo, of_eyes(faces[0].eyes, eyes, LARGE, LARGE), LARGE, LARGE)
    again = find_faces(Image.fromarray(large.permute(1, 2, 0).numpy()))
    place = np.array(eyes).reshape(2, 2)
    far = [float(np.linalg.norm(face.eyes / LARGE - place, axis=1).max()) for face in again]
    return 1, min(far, default=float("inf")), picture


def measure(path: Path, model: Model, directions: Directions, attributes: list[str]) -> dict[str, Any]:
    """Aligns one photo and measures its picture, and its edits by 1, under the model."""
    assert model.card.eyes is not None
    x1, y1, x2, y2 = model.card.eyes
    start = time.perf_counter()
    faces, far, picture = aligned(path, (x1, y1, x2, y2), model.image_shape[1])
    row: dict[str, Any] = {"photo": path.name, "faces": faces, "eyes": far, "seconds": time.perf_counter() - start}
    if picture is None:
        return row
    latents = model.encode(picture)
    limits = Limits(model, directions, latents)
    row["bits_per_dim"] = float(model.bits_per_dim(picture))
    row["natural"] = dict(zip(attributes, limits.natural([{name: 1.0} for name in attributes]), strict=True))
    return row


def summary(rows: list[dict[str, Any]], model: Model, attributes: list[str]) -> dict[str, Any]:
    """Counts the photos that are aligned, known, and natural after edits."""
    known = usual(model.card)
    return {
        "photos": len(rows),
        "aligned": sum(row["eyes"] is not None and row["eyes"] <= NEAR for row in rows),
        "known": None if known is None else sum(row.get("bits_per_dim", float("inf")) <= known.most for row in rows),
        "usual_bits_per_dim": None if known is None else known.mean,
        "natural": {name: sum(row.get("natural", {}).get(name, False) for row in rows) for name in attributes},
        "median_seconds": float(np.median([row["seconds"] for row in rows])),
    }


def main() -> None:
    """Measures all photos of a folder, prints the counts, and writes portraits.json."""
    options = report.parser(__doc__)
    options.add_argument("photos", type=Path, help="a folder of photos")
    options.add_argument("--checkpoint", default="celeba64", help="a model that knows where eyes belong")
    options.add_argument("--attributes", nargs="*", default=["Smiling", "Eyeglasses", "Male", "Young"])
    arguments = options.parse_args()
    facts = report.start(arguments)
    model = glow_app.load(arguments.checkpoint)
    directions = glow_app.load_directions(arguments.checkpoint)
    with torch.no_grad():
        rows = [measure(path, model, directions, arguments.attributes) for path in picture_files(arguments.photos)]
    found = summary(rows, model, arguments.attributes)
    table = Table("", "", box=None)
    table.add_row("aligned", f"{found['aligned']} of {found['photos']}")
    table.add_row("known to the model", f"{found['known']}")
    for name, n in found["natural"].items():
        table.add_row(f"{name} +1 finite and natural", f"{n}")
    table.add_row("seconds to find and align one, and again", f"{found['median_seconds']:.2f}")
    report.CONSOLE.print(table)
    content = {"machine": facts, "model": model.digest, **found, "rows": rows}
    report.write(report.file(arguments.output, "portraits", arguments.device, ".json"), content)


if __name__ == "__main__":
    main()
