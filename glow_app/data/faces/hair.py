"""Hair and hats of a drawn face."""

from dataclasses import dataclass

import numpy as np

from glow_app.data.faces.canvas import Canvas, Color, brush, closed_curve, ellipse, mix, moved, open_curve, palette, rgb
from glow_app.data.faces.factors import FaceFactors

BLOND_TO_BLACK = np.array(
    ((246, 218, 152), (226, 184, 104), (156, 102, 56), (116, 70, 38), (78, 46, 28), (36, 27, 26), (20, 17, 21)),
    dtype=np.float32,
)
GINGER = rgb(186, 84, 32)
SILVER = rgb(206, 206, 210)
SHADE = rgb(70, 34, 30)


@dataclass(frozen=True)
class HairStyle:
    """Properties shared by the parts of the hair.

    Attributes:
        color: colour in full light.
        brow: colour of the brows, which stay darker than blond and white hair.
        half: half the width of the skull, in the head's axes.
        crown: y of the top of the skull.
        thick: thickness of the hair above the skull.
        tips: y of the tips at the sides.
        part: x of the parting.
        line: y of the hairline in the middle.
    """

    color: Color
    brow: Color
    half: float
    crown: float
    thick: float
    tips: float
    part: float
    line: float

    @classmethod
    def of(cls, f: FaceFactors, half: float, crown: float) -> "HairStyle":
        natural = mix(palette(BLOND_TO_BLACK, f.hair_dark), GINGER * (1.15 - 0.5 * f.hair_dark), f.hair_red**3)
        return cls(
            color=mix(natural, SILVER, 0.92 * f.hair_gray),
            brow=mix(natural * 0.62, SILVER * 0.62, 0.8 * f.hair_gray),
            half=half,
            crown=crown,
            thick=0.030 + 0.036 * f.hair_volume + 0.012 * f.hair_wave,
            tips=-0.005 + 0.56 * f.hair_length,
            part=0.45 * half * f.hair_part,
            line=-0.238 - 0.036 * f.hairline,
        )


def hair_light(canvas: Canvas, f: FaceFactors, style: HairStyle) -> Color:
    """Colour of lit hair, (size, size, 3): strands that fall from the parting, a band of shine, dark ends."""
    u, v = canvas.x / 0.34, (canvas.y + 0.02) / 0.40
    lit = 0.52 + 0.40 * f.light_strength * (f.light_x * u + (f.light_y - 0.4) * 0.6 * v)
    spread = (canvas.x - style.part) / np.sqrt(0.035 + 0.25 * np.maximum(canvas.y - style.crown, 0.0))
    radius = np.sqrt(u * u + v * v)
    phase = f.texture_seed % 97
    strands = np.sin(14.0 * spread + phase) + 0.8 * np.sin(31.0 * spread + 2.0 * radius + 2.0 * phase)
    lit_side = np.clip(0.55 + 0.8 * f.light_x * u, 0.1, 1.0)
    band = np.exp(-(((radius - 0.86) / 0.075) ** 2)) * lit_side * np.clip(-7.0 * canvas.y, 0.0, 1.0)
    # Dark hair shines less, and its highlight has the colour of the light, not of the hair.
    gloss = 0.10 + 0.22 * float(style.color.mean()) / 255.0
    dark = style.color * rgb(0.50, 0.45, 0.46)
    bright = mix(style.color, rgb(255, 246, 228), 0.8 * gloss)
    hair = mix(dark, bright, np.clip(lit + 0.07 * strands, 0.0, 1.0)[:, :, None])
    return mix(hair, mix(style.color, rgb(255, 250, 240), 0.55), (1.6 * gloss * band)[:, :, None])


def paint_back_hair(canvas: Canvas, f: FaceFactors, style: HairStyle) -> None:
    """The sheet of long hair behind the neck."""
    if f.bald or f.hair_length < 0.3:
        return
    w, t, y = style.half, style.thick, style.tips
    side = [(w + t, -0.05), (w + t, 0.5 * y), (w + 0.3 * t, 0.95 * y), (0.5 * w, y)]
    outline = closed_curve([(0.0, style.crown - t), *side, *((-x, y) for x, y in reversed(side))])
    canvas.paint(outline, style.color * rgb(0.50, 0.45, 0.45))


def paint_front_hair(canvas: Canvas, f: FaceFactors, style: HairStyle, head: int) -> None:
    """Short hair around the forehead, or two long lobes from the parting down beside the face; and bangs."""
    if f.bald:
        return
    w, t, part, line = style.half, style.thick, style.part, style.line
    top = style.crown - t - (0.02 if f.hair_length < 0.3 else 0.0)
    hair = hair_light(canvas, f, style)

    def paint(control: list[tuple[float, float]]) -> None:
        outline = closed_curve(control)
        canvas.paint(moved(outline, 0.0, 0.020), SHADE, 0.26, within=head)
        canvas.paint(outline, hair)

    if f.hair_length < 0.3:
        low, swing = 0.035 + style.tips, 0.10 * part
        outer = [(1.0 * w, low), (w + 0.35 * t, -0.08)]
        outer += [(0.95 * w + 0.5 * t, -0.21), (0.62 * w + 0.2 * part, top + 0.036)]
        inner = [(0.945 * w, -0.06), (0.86 * w, -0.155), (0.52 * w, line + 0.012)]
        left_outer = [(-x + (0.4 * part if y < -0.25 else 0.0), y) for x, y in reversed(outer)]
        left_inner = [(-x, y + (swing if y < -0.2 else 0.0)) for x, y in inner]
        right_inner = [(x, y - (swing if y < -0.2 else 0.0)) for x, y in reversed(inner)]
        peak = (part, line - 0.012 - abs(swing))
        paint([*outer, (0.5 * part, top), *left_outer, *left_inner, peak, *right_inner])
    else:
        wave, y = 0.020 * f.hair_wave, style.tips
        for side in (-1.0, 1.0):
            edge = [(part - side * 0.03, top + 0.004), (side * 0.52 * w + 0.2 * part, top + 0.026)]
            edge += [(side * (0.91 * w + 0.95 * t), -0.19), (side * (w + 1.1 * t), -0.05)]
            edge += [(side * (w + 1.1 * t + wave), 0.3 * y), (side * (w + t - wave), 0.62 * y)]
            edge += [(side * (w + 0.7 * t + wave), 0.88 * y), (side * (w - 0.02), y + 0.015)]
            edge += [(side * 0.88 * w, 0.88 * y), (side * (0.90 * w - wave), 0.55 * y), (side * 0.95 * w, 0.2 * y)]
            edge += [(side * 0.88 * w, -0.06), (side * 0.72 * w + 0.1 * part, -0.160)]
            edge += [(side * 0.36 * w + 0.62 * part, line - 0.004), (part - side * 0.012, line - 0.035)]
            paint(edge)
        root = open_curve([(part, top + 0.012), (part, line - 0.03)])
        canvas.paint(brush(root, (0.003, 0.012)), 0.45 * style.color, 0.55)
    if f.bangs:
        low = -0.108
        fringe = [(-0.82 * w, -0.24), (-0.2 * w, top + 0.03), (0.2 * w, top + 0.03), (0.82 * w, -0.24)]
        fringe += [
            (0.97 * w, -0.10),
            (0.90 * w, -0.045),
            (0.62 * w, low + 0.006),
            (0.32 * w + part, low - 0.014),
            (part, low + 0.010),
        ]
        fringe += [(-0.30 * w + 0.5 * part, low - 0.012), (-0.62 * w, low + 0.006)]
        fringe += [(-0.90 * w, -0.045), (-0.97 * w, -0.10)]
        paint(fringe)


def paint_hat(canvas: Canvas, f: FaceFactors, style: HairStyle, color: Color, head: int) -> None:
    """A sun hat with ribbon and brim, or a knitted cap with a fold; with the lowest ``hat_brim`` it has a pompom."""
    w, brim = style.half + 0.55 * style.thick, max(0.0, f.hat_brim - 0.4) / 0.6
    across = f.light_strength * (f.light_x * canvas.x - 0.5 * (canvas.y + 0.3)) / 0.3
    lit = np.clip(0.5 + 0.55 * across, 0.0, 1.0)[:, :, None]
    cloth = mix(color * rgb(0.58, 0.54, 0.60), mix(color, rgb(255, 255, 255), 0.22), lit)
    y, top = -0.165, style.crown - style.thick - 0.032
    shadow = open_curve([(-1.02 * w, y + 0.02), (0.0, y + 0.03), (1.02 * w, y + 0.02)])
    canvas.paint(brush(shadow, (0.07, 0.075, 0.07)), SHADE, 0.34, within=head)
    if not brim and f.hat_brim < 0.2:
        canvas.paint(ellipse(0.0, top - 0.012, 0.062, 0.056), mix(cloth, rgb(255, 255, 255), 0.35))
    crown = [(1.05 * w, y), (1.02 * w, -0.25), (0.80 * w, top + 0.065), (0.42 * w, top + 0.012)]
    canvas.paint(closed_curve([*((-x, h) for x, h in crown), (0.0, top), *reversed(crown), (0.0, y + 0.012)]), cloth)
    reach, sag = w * (1.08 + 0.55 * brim), 0.01 + 0.03 * brim
    edge = [(-reach, y + sag), (-0.5 * w, y - 0.012), (0.0, y - 0.018), (0.5 * w, y - 0.012), (reach, y + sag)]
    fold = open_curve(edge)
    if brim:
        ribbon = open_curve([(-1.01 * w, y - 0.035), (0.0, y - 0.055), (1.01 * w, y - 0.035)])
        canvas.paint(brush(ribbon, (0.045, 0.05, 0.045)), 0.5 * cloth)
        canvas.paint(brush(fold, (0.02, 0.055, 0.06, 0.055, 0.02)), mix(cloth, color, 0.3))
    else:
        canvas.paint(brush(fold, (0.085, 0.09, 0.09, 0.09, 0.085)), 0.84 * cloth)
