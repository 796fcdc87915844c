"""The painter's tools: smooth outlines, antialiased shapes, soft spots and light, on a small float picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

Color = np.ndarray
"""float32 (3,) one colour, or (size, size, 3) a colour for every pixel; red, green, blue in [0, 255]."""

Points = np.ndarray
"""float64 (n, 2): x to the right and y downwards, in units of the frame's side."""


def rgb(red: float, green: float, blue: float) -> Color:
    """One colour from channels in [0, 255]."""
    return np.array((red, green, blue), dtype=np.float32)


def mix(first: Color, second: Color, share: float | np.ndarray) -> Color:
    """Blends two colours: first + share (second - first); ``share`` in [0, 1] may be (size, size, 1)."""
    return first + share * (second - first)


def palette(stops: np.ndarray, where: float) -> Color:
    """The colour at ``where`` in [0, 1] along evenly spaced ``stops`` (n, 3), linearly interpolated."""
    position = min(max(where, 0.0), 1.0) * (len(stops) - 1)
    k = min(int(position), len(stops) - 2)
    return mix(stops[k], stops[k + 1], position - k)


@lru_cache(maxsize=64)
def _spline(n: int, closed: bool, n_per_piece: int = 5) -> np.ndarray:
    """Matrix (m, n) that maps n control points to m points of the Catmull-Rom curve through them."""
    n_pieces = n if closed else n - 1
    rows = []
    for piece in range(n_pieces):
        for t in np.arange(n_per_piece) / n_per_piece:
            row = np.zeros(n)
            weights = (
                0.5 * (-t + 2 * t**2 - t**3),
                0.5 * (2 - 5 * t**2 + 3 * t**3),
                0.5 * (t + 4 * t**2 - 3 * t**3),
                0.5 * (-(t**2) + t**3),
            )
            for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
                k = (piece + offset) % n if closed else min(max(piece + offset, 0), n - 1)
                row[k] += weight
            rows.append(row)
    if not closed:
        rows.append(np.eye(n)[-1])
    return np.array(rows)


def closed_curve(control: Sequence[tuple[float, float]]) -> Points:
    """A smooth outline through the control points."""
    return _spline(len(control), True) @ np.array(control)


def open_curve(control: Sequence[tuple[float, float]]) -> Points:
    """A smooth line through the control points, from the first to the last."""
    return _spline(len(control), False) @ np.array(control)


@lru_cache(maxsize=4)
def _circle(n: int) -> np.ndarray:
    angle = 2.0 * np.pi * np.arange(n) / n
    return np.stack((np.cos(angle), np.sin(angle)), axis=1)


def moved(points: Points, x: float, y: float) -> Points:
    """The outline or line, moved by (x, y)."""
    return points + np.array((x, y))


def ellipse(x: float, y: float, rx: float, ry: float, boxiness: float = 1.0, angle: float = 0.0) -> Points:
    """Outline around (x, y): ``boxiness`` 1 is an ellipse, 0.5 nearly a rectangle; ``angle`` in radians, clockwise."""
    unit = _circle(24)
    if boxiness != 1.0:
        unit = np.sign(unit) * np.abs(unit) ** boxiness
    points = unit * (rx, ry)
    if angle:
        c, s = math.cos(angle), math.sin(angle)
        points = points @ np.array(((c, s), (-s, c)))
    return moved(points, x, y)


@lru_cache(maxsize=64)
def _stroke(n_points: int, widths: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Central differences along a line, (n_points, n_points), and half its thickness at every point, (n_points,)."""
    points = np.eye(n_points)
    steps = np.concatenate((points[1:], points[-1:])) - np.concatenate((points[:1], points[:-1]))
    along, stops = np.linspace(0.0, 1.0, n_points), np.linspace(0.0, 1.0, len(widths))
    return steps, 0.5 * np.interp(along, stops, widths)


def brush(line: Points, widths: tuple[float, ...], scale: float = 1.0) -> Points:
    """Outline of a stroke along ``line``; ``scale * widths`` are its thicknesses at even distances along it."""
    # In the complex plane a quarter turn is a product with i, which is short and fast.
    z = np.ascontiguousarray(line).view(np.complex128)[:, 0]
    steps, half = _stroke(len(line), widths)
    step = steps @ z
    normal = (1j * scale) * half * step / (np.abs(step) + 1e-9)
    return np.concatenate((z + normal, (z - normal)[::-1])).view(np.float64).reshape(-1, 2)


@lru_cache(maxsize=8)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y, float32 (size, size), of the pixels' centres, in [0, 1]."""
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    x, y = np.meshgrid(centre, centre)
    return x, y


@dataclass(frozen=True)
class Layer:
    """One shape to paint."""

    outline: Points
    color: Color
    opacity: float
    within: int | None


class Canvas:
    """A square picture, and the position of the head in it.

    Points are given in the head's own axes: the origin is between the eyes, a length of 1 is ``scale`` sides of the
    frame, and everything turns by ``tilt`` radians. ``x`` and ``y``, float32 (size, size), are the pixels'
    centres in these axes, for shading; ``frame_x`` and ``frame_y`` are the same in the frame's axes, in [0, 1].

    ``fine`` is false for pictures too small to show details of a hundredth of the frame.

    ``paint`` only stores shapes. ``render`` draws all outlines onto one supersampled sheet, reduces it once and
    composites the layers: for small pictures that is much faster than one Pillow image per shape.
    """

    def __init__(self, size: int, origin: tuple[float, float], scale: float, tilt: float) -> None:
        self.size = size
        self.fine = size >= 48
        c, s = scale * math.cos(tilt), scale * math.sin(tilt)
        self._turn = size * np.array(((c, s), (-s, c)))
        self._origin = size * np.array(origin)
        self.frame_x, self.frame_y = _grid(size)
        u, v = self.frame_x - np.float32(origin[0]), self.frame_y - np.float32(origin[1])
        c, s = math.cos(tilt) / scale, math.sin(tilt) / scale
        self.x = c * u + s * v
        self.y = c * v - s * u
        self._layers: list[Layer] = []

    def paint(self, outline: Points, color: Color, opacity: float = 1.0, within: int | None = None) -> int:
        """Adds a shape: pixels += opacity * cover * (color - pixels), cover in [0, 1] from the antialiased outline.

        Args:
            outline: (n, 2), closed from the last point to the first.
            color: one colour for the whole shape, or one per pixel.
            opacity: in [0, 1].
            within: number of an earlier shape, which clips this one.

        Returns:
            The number of this shape.
        """
        self._layers.append(Layer(outline, color, opacity, within))
        return len(self._layers) - 1

    def spots(self, *spots: tuple[float, float, float, float, float]) -> np.ndarray:
        """Sum of weight * exp(-((X - x) / rx)^2 - ((Y - y) / ry)^2) over (weight, x, y, rx, ry); (size, size, 1)."""
        weight, x, y, rx, ry = np.array(spots, dtype=np.float32).T[:, :, None, None]
        return (weight * np.exp(-(((self.x - x) / rx) ** 2) - ((self.y - y) / ry) ** 2)).sum(axis=0)[:, :, None]

    def render(self, background: np.ndarray) -> np.ndarray:
        """Returns the layers over ``background``, (size, size, 3), as float32 of that shape in [0, 255]."""
        n = max(3, min(6, 256 // self.size))
        lengths = np.array([len(layer.outline) for layer in self._layers])
        ends = np.cumsum(lengths)
        points = np.concatenate([layer.outline for layer in self._layers]) @ self._turn + self._origin
        # One pixel of margin, so that neighbours on the sheet do not touch.
        low = np.floor(np.minimum.reduceat(points, ends - lengths)).astype(int) - 1
        high = np.ceil(np.maximum.reduceat(points, ends - lengths)).astype(int) + 1
        corners, sheet_size = _shelves((high - low).tolist(), 4 * self.size)
        # Pillow's coordinates start at a pixel's centre, ours at its corner.
        points = (points + np.repeat(np.array(corners) - low, lengths, axis=0)) * n - 0.5
        numbers = points.ravel().tolist()
        sheet = Image.new("L", (sheet_size[0] * n, sheet_size[1] * n))
        draw = ImageDraw.Draw(sheet)
        for end, length in zip(ends.tolist(), lengths.tolist(), strict=True):
            draw.polygon(numbers[2 * (end - length) : 2 * end], fill=255)
        covers = np.asarray(sheet.reduce(n), dtype=np.float32)[:, :, None] * np.float32(1.0 / 255.0)

        pixels = background.astype(np.float32)
        boxes: list[tuple[int, int, int, int, np.ndarray]] = []
        visible = np.concatenate((low, high), axis=1).clip(0, self.size).tolist()
        offsets = (np.array(corners) - low).tolist()
        for layer, (left, top, right, bottom), (dx, dy) in zip(self._layers, visible, offsets, strict=True):
            if layer.within is None:
                cover = covers[top + dy : bottom + dy, left + dx : right + dx]
            else:
                x0, y0, x1, y1, outer = boxes[layer.within]
                left, top = max(left, x0), max(top, y0)
                right, bottom = max(min(right, x1), left), max(min(bottom, y1), top)
                cover = covers[top + dy : bottom + dy, left + dx : right + dx]
                cover = cover * outer[top - y0 : bottom - y0, left - x0 : right - x0]
            boxes.append((left, top, right, bottom, cover))
            color = layer.color[top:bottom, left:right] if layer.color.ndim == 3 else layer.color
            under = pixels[top:bottom, left:right]
            change = color - under
            change *= layer.opacity * cover
            under += change
        return pixels


def _shelves(boxes: list[list[int]], width: int) -> tuple[list[tuple[int, int]], tuple[int, int]]:
    """Packs boxes (w, h) on shelves of at least ``width``; returns their corners (x, y) and the sheet's size."""
    width = max(width, *(w for w, _ in boxes))
    corners: list[tuple[int, int]] = []
    x = y = height = 0
    for w, h in boxes:
        if x + w > width:
            x, y, height = 0, y + height, 0
        corners.append((x, y))
        x, height = x + w, max(height, h)
    return corners, (width, y + height)
