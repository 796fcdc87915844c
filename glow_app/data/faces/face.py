"""The procedural face artist: factors in, a softly lit portrait out.

A face is painted from back to front: every part is one antialiased outline, filled with one colour or with a colour
per pixel. It is aligned like a CelebA crop: the eyes near (0.5, 0.49) of the frame, 0.26 apart.
"""

import colorsys
import math

import numpy as np
from PIL import Image

from glow_app.data.faces.canvas import Canvas, Color, closed_curve, ellipse, mix, rgb
from glow_app.data.faces.factors import FACE_ATTRIBUTES, FACTOR_NAMES, FaceFactors, sample_factors
from glow_app.data.faces.features import (
    WHITE,
    Face,
    paint_age,
    paint_beard,
    paint_eye,
    paint_glasses,
    paint_mouth,
    paint_mustache,
    paint_nose,
)
from glow_app.data.faces.hair import HairStyle, paint_back_hair, paint_front_hair, paint_hat

__all__ = [
    "DRAWING_VERSION",
    "FACE_ATTRIBUTES",
    "FACE_SIZES",
    "FACTOR_NAMES",
    "FaceFactors",
    "draw_face",
    "sample_factors",
]

DRAWING_VERSION = 1
"""Raised whenever a change to the drawing or to the sampling of factors changes any pixel."""

FACE_SIZES = range(16, 257, 8)
"""Sides, in pixels, that ``draw_face`` accepts."""

NOISE = 1.6
"""Standard deviation of the pixel noise in grey levels."""


def hls(hue: float, light: float, saturation: float) -> Color:
    """Colour from hue (turns), lightness and saturation in [0, 1]."""
    return np.array(colorsys.hls_to_rgb(hue % 1.0, light, saturation), dtype=np.float32) * 255.0


def draw_face(factors: FaceFactors, size: int) -> np.ndarray:
    """Draws a portrait, uint8 (size, size, 3) RGB; ``size`` is one of ``FACE_SIZES``. Deterministic."""
    if size not in FACE_SIZES:
        raise ValueError(f"size must be a multiple of 8 from {FACE_SIZES[0]} to {FACE_SIZES[-1]}, not {size}")
    f = factors
    face = Face(f)
    canvas = Canvas(size, (0.5 + f.shift_x, 0.49 + f.shift_y), 1.05 * f.scale, f.tilt)
    style = HairStyle.of(f, face.width, face.crown)
    skin = skin_light(canvas, f, face)
    paint_back_hair(canvas, f, style)
    paint_body(canvas, f, face, skin)
    if f.hair_length < 0.3 or f.bald:
        for side in (-1.0, 1.0):
            ear = ellipse(side * (face.width + 0.006) - 0.35 * face.turn, 0.042, 0.034, 0.062, angle=-0.15 * side)
            canvas.paint(ear, mix(skin, face.skin * rgb(0.86, 0.62, 0.56), 0.35))
    head = canvas.paint(face.outline(), skin)
    if f.bald:
        for side in (-1.0, 1.0):
            canvas.paint(ellipse(side * face.width, -0.09, 0.04, 0.10), 0.5 * face.skin + 12.0, 0.22, within=head)
    paint_age(canvas, f, face, head)
    paint_beard(canvas, f, face, style, head)
    paint_nose(canvas, f, face)
    paint_mouth(canvas, f, face)
    if f.mustache:
        paint_mustache(canvas, face, style)
    for side in (-1.0, 1.0):
        paint_eye(canvas, f, face, style, side)
    paint_front_hair(canvas, f, style, head)
    if f.eyeglasses:
        paint_glasses(canvas, f, face)
    if f.hat:
        paint_hat(canvas, f, style, hls(f.hat_hue, f.hat_light, 0.42), head)
    return finish(canvas.render(background(canvas, f)), f)


def background(canvas: Canvas, f: FaceFactors) -> np.ndarray:
    """Background, (size, size, 3): a gradient between two related colours, with a soft light behind the head."""
    first = hls(f.background_hue, f.background_light, f.background_color)
    second = hls(f.background_hue + f.background_turn, 0.8 * f.background_light, f.background_color)
    x, y = canvas.frame_x[:, :, None] - 0.5, canvas.frame_y[:, :, None] - 0.5
    along = 0.5 + 0.75 * (math.cos(f.background_angle) * x + math.sin(f.background_angle) * y)
    glow = np.exp(-((x - 0.3 * f.light_x) ** 2 + (y + 0.15) ** 2) / 0.16)
    return mix(mix(first, second, np.clip(along, 0.0, 1.0)), WHITE, 0.28 * glow)


def skin_light(canvas: Canvas, f: FaceFactors, face: Face) -> Color:
    """Colour of skin under the light, (size, size, 3), at every pixel as if the head covered the whole frame.

    Lambert's cosine on an ellipsoid, wrapped softly around the edge. Shadows turn red and highlights take the colour
    of the light, as in real skin.
    """
    base = mix(face.skin, rgb(214, 178, 152) * (1.0 - 0.45 * f.skin_tone), 0.18 * f.age)
    u = (canvas.x - 0.25 * face.turn) / (1.12 * face.width)
    v = (canvas.y - 0.04) / 0.42
    depth = np.sqrt(np.maximum(1.0 - u * u - v * v, 0.0))
    lit = 0.62 * f.light_x * u + (0.40 * f.light_y - 0.1) * v + 0.62 * depth
    lit = np.clip(0.55 + f.light_strength * 0.95 * (lit - 0.52), 0.0, 1.0)[:, :, None]
    shadow = base * mix(rgb(0.66, 0.46, 0.42), rgb(0.60, 0.48, 0.54), 0.5 - 0.5 * f.light_warmth)
    bright = mix(base, mix(rgb(240, 246, 255), rgb(255, 240, 208), 0.5 + 0.5 * f.light_warmth), 0.42)
    red = face.skin * rgb(0.99, 0.56, 0.54)

    # A smile pushes the cheeks up and out: two lights above two blushes.
    smile = max(f.mouth_curvature, 0.0)
    left, right, rise = face.at(-0.158), face.at(0.158), 0.135 - 0.02 * smile
    blush, shine = 0.07 + 0.60 * f.blush**1.6, 0.10 + 0.14 * smile
    reds = canvas.spots((blush, left, rise, 0.085, 0.06), (blush, right, rise, 0.085, 0.06))
    darks = canvas.spots(
        (0.26, face.at(-0.115), -0.03, 0.085, 0.05),
        (0.26, face.at(0.115), -0.03, 0.085, 0.05),
        (0.28, face.at(0.0), 0.5 * (face.mouth + face.chin) + 0.005, 0.06, 0.018),
    )
    lights = canvas.spots(
        (shine * (1.0 - 0.6 * f.light_x), left, rise - 0.03, 0.055, 0.035),
        (shine * (1.0 + 0.6 * f.light_x), right, rise - 0.03, 0.055, 0.035),
        (0.22, face.at(0.06 * f.light_x), -0.19, 0.14, 0.07),
        (0.20, face.at(0.02 * f.light_x), face.chin - 0.035, 0.05, 0.03),
        (0.55 if f.bald else 0.0, face.at(0.10 * f.light_x), -0.235, 0.08, 0.04),
    )
    skin = mix(mix(shadow, base, np.minimum(2.0 * lit, 1.0)), bright, np.maximum(2.0 * lit - 1.0, 0.0))
    return mix(mix(mix(skin, red, reds), shadow, darks), bright, lights)


def paint_body(canvas: Canvas, f: FaceFactors, face: Face, skin: Color) -> None:
    """Neck in the shadow of the chin, and shoulders."""
    half = 0.108 + 0.037 * f.masculinity
    neck = [(-half, 0.2), (half, 0.2), (half + 0.01, 0.44), (0.1, 0.54), (-0.1, 0.54), (-half - 0.01, 0.44)]
    dark = np.clip(0.80 - 3.0 * (canvas.y[:, :, None] - face.chin), 0.12, 0.6)
    canvas.paint(closed_curve(neck), mix(skin, face.skin * rgb(0.72, 0.54, 0.50), dark))
    clothes = hls(f.clothes_hue, f.clothes_light, 0.38)
    wide = 0.36 + 0.08 * f.masculinity
    cloth = [(-wide, 0.46), (-0.19, 0.41), (-0.11, 0.465), (0.0, 0.49), (0.11, 0.465), (0.19, 0.41), (wide, 0.46)]
    cloth += [(0.6, 0.56), (0.5, 0.62), (-0.5, 0.62), (-0.6, 0.56)]
    light = np.clip(0.5 + 1.1 * f.light_x * canvas.x, 0.0, 1.0)[:, :, None]
    canvas.paint(closed_curve(cloth), mix(0.66 * clothes, mix(clothes, WHITE, 0.15), light))


def finish(pixels: np.ndarray, f: FaceFactors) -> np.ndarray:
    """Applies the colour of the light, a little texture and noise, and rounding: uint8 (size, size, 3).

    The noise is the sum of four uniform bytes: nearly normal, standard deviation 147.8, from bits that NumPy
    never changes.
    """
    n = len(pixels)
    words = np.random.Philox(key=np.array([f.texture_seed, 1], dtype=np.uint64)).random_raw(8 + (n * n * 3 + 1) // 2)
    data = words.view(np.uint8)
    coarse = Image.frombytes("L", (8, 8), data[:64].tobytes()).resize((n, n), Image.Resampling.BICUBIC)
    texture = np.asarray(coarse, dtype=np.float32)[:, :, None] - np.float32(127.5)
    noise = data[64 : 64 + n * n * 12].reshape(4, n, n, 3).sum(axis=0, dtype=np.uint16).astype(np.float32) - 510.0
    tint = mix(rgb(0.975, 1.0, 1.03), rgb(1.03, 1.0, 0.955), 0.5 + 0.5 * f.light_warmth)
    pixels = pixels * tint + texture * np.float32(0.025) + noise * np.float32(NOISE / 147.8)
    return np.clip(np.rint(pixels), 0.0, 255.0).astype(np.uint8)
