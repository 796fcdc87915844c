"""Pictures: grids of images and curves."""

from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from glow_app.durable import write_durably


def grid(images: Tensor, columns: int, gap: int = 2) -> Image.Image:
    """Images side by side, row by row, on white; small ones are enlarged without smoothing.

    Args:
        images: uint8 (N, C, H, W), C being 1 or 3.
        columns: images per row.
        gap: pixels between images.
    """
    n, _, height, width = images.shape
    scale = max(1, 96 // max(height, width))
    rows = -(-n // columns)
    canvas = torch.full(
        (3, rows * (height * scale + gap) + gap, columns * (width * scale + gap) + gap), 255, dtype=torch.uint8
    )
    large = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3).cpu().expand(-1, 3, -1, -1)
    for number, image in enumerate(large):
        top = gap + number // columns * (height * scale + gap)
        left = gap + number % columns * (width * scale + gap)
        canvas[:, top : top + height * scale, left : left + width * scale] = image
    return Image.fromarray(canvas.permute(1, 2, 0).numpy())


def save_png(picture: Image.Image, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    write_durably(path, lambda file: picture.save(file, format="PNG"))


def curves(rows: list[dict[str, float]], path: Path) -> None:
    """Draws bits/dim in training and validation against steps.

    Args:
        rows: of metrics.csv.
        path: PNG.
    """
    # Imported here: matplotlib takes a second to load, and most commands draw no curve.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for key, label in (("train/bits_per_dim", "training"), ("val/bits_per_dim", "validation")):
        points = [(row["step"], row[key]) for row in rows if key in row]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, marker="o" if len(points) < 30 else None, markersize=3)
    if axes.lines:
        lowest = min(min(line.get_ydata()) for line in axes.lines)  # type: ignore[arg-type, type-var]
        # The first steps are far above everything of interest.
        axes.set_ylim(lowest - 0.05, lowest + 2.0)
        axes.legend()
    axes.set_xlabel("step")
    axes.set_ylabel("bits per dimension")
    axes.grid(alpha=0.3)
    write_durably(path, lambda file: figure.savefig(file, format="png", dpi=110))
