"""Pictures: grids of images, with labels where they need them, and curves."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from PIL.Image import Image as Picture
from torch import Tensor

from glow_app.runtime.atomic import write_atomically

SMALLEST_SIDE = 96
"""Pixels: smaller images are enlarged to at least about this, without smoothing."""

FONT_SIZE = 13


def grid(
    images: Tensor,
    columns: int,
    gap: int = 2,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
) -> Picture:
    """Images side by side, row by row, on white; small ones are enlarged without smoothing.

    Args:
        images: uint8 (N, C, H, W), C being 1 or 3.
        columns: images per row.
        gap: pixels between images.
        row_labels: text to the left of each row; empty for no margin.
        column_labels: text above each column; empty for no margin. A text wider than its image is cut.
    """
    n, _, height, width = images.shape
    large = enlarged(images).cpu().expand(-1, 3, -1, -1)
    height, width = large.shape[2:]
    rows = -(-n // columns)
    font = ImageFont.load_default(FONT_SIZE)
    left = gap + (round(max(font.getlength(text) for text in row_labels)) + 10 if row_labels else 0)
    top = gap + (FONT_SIZE + 6 if column_labels else 0)
    canvas = torch.full((3, top + rows * (height + gap), left + columns * (width + gap)), 255, dtype=torch.uint8)
    for number, image in enumerate(large):
        y = top + number // columns * (height + gap)
        x = left + number % columns * (width + gap)
        canvas[:, y : y + height, x : x + width] = image
    picture = Image.fromarray(canvas.permute(1, 2, 0).contiguous().numpy())
    pen = ImageDraw.Draw(picture)
    for row, text in enumerate(row_labels):
        pen.text((left - 6, top + row * (height + gap) + height / 2), text, "black", font, anchor="rm")
    for column, text in enumerate(column_labels):
        middle = left + column * (width + gap) + width / 2
        pen.text((middle, top - 4), _fitting(text, font, width + gap), "black", font, anchor="ms")
    return picture


def stacked(pictures: Sequence[Picture]) -> Picture:
    """Pictures one below the other, on white."""
    canvas = Image.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    y = 0
    for picture in pictures:
        canvas.paste(picture, (0, y))
        y += picture.height
    return canvas


def headed(text: str, picture: Picture) -> Picture:
    """A picture below a line of text, on white."""
    canvas = Image.new("RGB", (picture.width, picture.height + FONT_SIZE + 14), "white")
    ImageDraw.Draw(canvas).text((4, FONT_SIZE + 8), text, "black", ImageFont.load_default(FONT_SIZE), anchor="ls")
    canvas.paste(picture, (0, FONT_SIZE + 14))
    return canvas


def crossed_out(image_shape: tuple[int, int, int]) -> Tensor:
    """Placeholder for an image that cannot be shown: grey with a black cross, uint8 (C, H, W)."""
    channels, height, width = image_shape
    image = torch.full((height, width), 160, dtype=torch.uint8)
    steps = max(height, width)
    rows = torch.linspace(0, height - 1, steps).round().long()
    columns = torch.linspace(0, width - 1, steps).round().long()
    image[rows, columns] = 0
    image[rows, columns.flip(0)] = 0
    return image.expand(channels, -1, -1)


def enlarged(images: Tensor) -> Tensor:
    """Enlarges small images to about ``SMALLEST_SIDE`` by repeating pixels: uint8 (N, C, s H, s W)."""
    scale = max(1, SMALLEST_SIDE // max(images.shape[2:]))
    return images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)


def zoomed(images: Tensor, factor: int) -> Tensor:
    """Enlarges images by Lanczos interpolation: uint8 (N, 3, factor H, factor W); unchanged if ``factor`` is 1."""
    if factor == 1:
        return images
    size = factor * images.shape[3], factor * images.shape[2]
    large = [to_picture(image).resize(size, Image.Resampling.LANCZOS).tobytes() for image in images]
    return (
        torch.stack([torch.frombuffer(bytearray(one), dtype=torch.uint8) for one in large])
        .view(len(images), size[1], size[0], 3)
        .permute(0, 3, 1, 2)
    )


def to_picture(image: Tensor) -> Picture:
    """Converts one image, uint8 (C, H, W), as it is."""
    return Image.fromarray(image.expand(3, -1, -1).permute(1, 2, 0).contiguous().cpu().numpy())


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: float) -> str:
    while text and font.getlength(text) > width:
        text = text[:-1]
    return text


def save_png(picture: Picture, path: Path) -> None:
    """Writes a PNG atomically."""
    write_atomically(path, lambda file: picture.save(file, format="PNG"))


def curves(rows: list[dict[str, float]], path: Path) -> None:
    """Draws bits/dim in training and validation against steps.

    Args:
        rows: rows of metrics.csv.
        path: path of the PNG.
    """
    # Imported here: matplotlib takes a second to load, and most commands draw no curve.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for key, label in (
        ("train/bits_per_dim", "training"),
        ("train/kl_bits_per_dim", "KL of student and teacher"),
        ("val/bits_per_dim", "validation"),
    ):
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
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110))
