"""Features of a drawn face between the forehead and the chin: eyes, nose, mouth, lines of age, beard, glasses."""

import math

import numpy as np

from glow_app.data.faces.canvas import (
    Canvas,
    Points,
    brush,
    closed_curve,
    ellipse,
    mix,
    moved,
    open_curve,
    palette,
    rgb,
)
from glow_app.data.faces.factors import FaceFactors
from glow_app.data.faces.hair import HairStyle

SKIN = np.array(
    ((255, 228, 212), (248, 212, 186), (234, 187, 152), (205, 152, 112), (158, 107, 74), (112, 72, 50)),
    dtype=np.float32,
)
IRIS = np.array(((84, 50, 28), (124, 84, 40), (84, 122, 72), (66, 122, 168), (110, 136, 150)), dtype=np.float32)
RIM = np.array(((28, 26, 32), (34, 30, 34), (116, 66, 34), (150, 34, 44), (40, 62, 120)), dtype=np.float32)
WHITE = rgb(255, 255, 255)
SPAN = np.linspace(-1.0, 1.0, 15)
"""Positions from the left corner of the mouth to the right one."""


class Face:
    """Proportions that several parts share, in the head's own axes.

    Attributes:
        width: half the width of the head, between the ears.
        chin: y of the chin.
        crown: y of the top of the skull.
        turn: how far the middle of the face moves to the right when the head turns.
        eye: x of the right eye's centre, seen from the front.
        nose: y of the tip of the nose.
        mouth: y of the line between the lips.
        jaw: half the width of the jaw.
        skin: colour of the skin in even light.
    """

    def __init__(self, f: FaceFactors) -> None:
        self.width = 0.272 * f.face_width * (1.0 + 0.02 * f.masculinity)
        self.chin = 0.385 * f.face_length * (1.0 + 0.03 * f.masculinity)
        self.crown = -0.315
        self.turn = self.width * math.sin(f.yaw)
        self.eye = 0.126 * f.eye_spacing
        self.nose = 0.128 * f.nose_length
        self.mouth = 0.5 * (self.nose + self.chin) - 0.012
        self.jaw = self.width * f.jaw_width
        self.skin = palette(SKIN, f.skin_tone)

    def at(self, x: float, depth: float = 1.0) -> float:
        """Position of frontal ``x`` after the head has turned: near parts move more, the far side shrinks."""
        u = x / self.width
        shrink = 1.0 - 0.3 * abs(self.turn / self.width) * (u * self.turn > 0)
        return x * shrink + self.turn * depth * (1.0 - 0.5 * u * u)

    def outline(self) -> Points:
        """Outline of the head without ears and hair."""
        w, j, c, t = self.width, self.jaw, self.chin, self.turn
        right = [
            (0.52 * w, self.crown + 0.032),
            (0.90 * w, -0.17),
            (1.0 * w, -0.01),
            (0.95 * w, 0.105),
            (0.785 * j, 0.23),
            (0.47 * j, c - 0.056),
            (0.20 * j, c - 0.006),
        ]
        # The chin follows the turn; the skull stays, since it turns around itself.
        follow = (0.0, 0.0, 0.0, 0.0, 0.0, 0.3 * t, 0.45 * t)
        left = [(shift - x, y) for (x, y), shift in zip(right, follow, strict=True)][::-1]
        right = [(shift + x, y) for (x, y), shift in zip(right, follow, strict=True)]
        return closed_curve([(0.0, self.crown), *right, *left])


def paint_age(canvas: Canvas, f: FaceFactors, face: Face, head: int) -> None:
    """Folds from the nose to the mouth, bags under the eyes, lines on the forehead and beside the eyes."""
    skin = face.skin
    line, depth = skin * rgb(0.62, 0.45, 0.40), max(0.0, (f.age - 0.3) / 0.7)
    smile = max(f.mouth_curvature, 0.0)
    fold = 0.12 + 0.25 * smile + 0.5 * depth
    for side in (-1.0, 1.0):
        curve = [(0.062, face.nose - 0.01), (0.105, face.nose + 0.045), (0.125, face.mouth + 0.005)]
        points = open_curve([(face.at(side * x), y) for x, y in curve])
        canvas.paint(brush(points, (0.004, 0.016, 0.003)), line, min(fold, 0.62), within=head)
        if depth:
            x = face.at(side * face.eye)
            bag = open_curve([(x - 0.055, 0.055), (x, 0.076), (x + 0.055, 0.055)])
            canvas.paint(brush(bag, (0.003, 0.018, 0.003)), line, 0.50 * depth, within=head)
            for rise in (-0.02, 0.03) if canvas.fine else ():
                crow = open_curve([(face.at(side * 0.205), 0.006), (face.at(side * 0.24), 0.006 + rise)])
                canvas.paint(brush(crow, (0.010, 0.003)), line, 0.6 * depth, within=head)
    if depth:
        for y in (-0.145, -0.185, -0.222):
            arc = [(face.at(x), y + 0.5 * x * x) for x in (-0.11, -0.04, 0.04, 0.11)]
            canvas.paint(brush(open_curve(arc), (0.004, 0.013, 0.013, 0.004)), line, 0.34 * depth, within=head)


def paint_beard(canvas: Canvas, f: FaceFactors, face: Face, style: HairStyle, head: int) -> None:
    """Beard on the lower face up to the ears and the nose, from thin stubble to dense, with a soft border."""
    if not f.beard:
        return
    w, lip = face.width, 0.5 * (face.nose + face.mouth)
    for k in range(3):
        d = 0.013 * k
        upper = [(1.06 * w, -0.02 + d), (0.86 * w, 0.10 + d), (0.50 * w, lip + 0.012 + d), (0.20 * w, lip - 0.006 + d)]
        lower = [(1.2 * w, 0.24 + d), (0.7 * w, 0.44)]
        right, left = [(face.at(x), y) for x, y in upper], [(face.at(-x), y) for x, y in reversed(upper)]
        outline = closed_curve([*right, *left, *((-x, y) for x, y in lower), *reversed(lower)])
        canvas.paint(outline, 0.92 * style.color, 0.06 + 0.36 * f.beard, within=head)


def paint_nose(canvas: Canvas, f: FaceFactors, face: Face) -> None:
    """A shadow on the side away from the light, nostrils, and light on the bridge and the tip."""
    skin = face.skin
    dark, x, y = skin * rgb(0.66, 0.46, 0.42), face.at(0.0, 1.35), face.nose
    wide = 0.046 * f.nose_width * (1.0 + 0.12 * f.masculinity)
    away = -1.0 if f.light_x > 0 else 1.0
    root = face.at(away * 0.034, 1.1)
    side = [(root, -0.02), (x + away * 0.022, y - 0.05), (x + away * wide, y - 0.006), (x + away * 0.012, y - 0.03)]
    canvas.paint(closed_curve(side), dark, 0.30 + 0.25 * f.light_strength)
    under = [(x - wide, y - 0.006), (x, y + 0.004), (x + wide, y - 0.006)]
    under += [(x + 0.6 * wide, y + 0.021), (x, y + 0.024), (x - 0.6 * wide, y + 0.021)]
    canvas.paint(closed_curve(under), dark, 0.62)
    for nostril in (-1.0, 1.0):
        canvas.paint(ellipse(x + nostril * 0.5 * wide, y + 0.009, 0.013, 0.0075), 0.5 * dark, 0.75)
    shine = mix(skin, WHITE, 0.55)
    canvas.paint(ellipse(x - away * 0.010, y - 0.026, 0.019, 0.015), shine, 0.42)
    canvas.paint(ellipse(face.at(-away * 0.008, 1.15), 0.5 * y - 0.02, 0.011, 0.05), shine, 0.30)


def paint_mouth(canvas: Canvas, f: FaceFactors, face: Face) -> None:
    """Lips along a parabola whose corners the smile lifts; an open mouth shows teeth above a dark gap."""
    c, opening = f.mouth_curvature, f.mouth_opening
    half = (0.094 + 0.018 * max(c, 0.0) - 0.012 * opening * (c < 0.3)) * f.mouth_width
    bulge = 1.0 - SPAN**2
    tall = (0.088 if c > 0.3 else 0.066) * opening
    gap = tall * bulge
    line = face.mouth + 0.062 * (c + 0.18) * (0.45 - SPAN**2)
    x = np.array([face.at(half * t, 1.1) for t in SPAN])
    upper, lower = line - (0.35 - 0.15 * (c > 0.3)) * gap, line + (0.65 + 0.15 * (c > 0.3)) * gap
    full = f.lip_fullness * (1.0 - 0.28 * f.age)
    skin = face.skin
    lip = mix(skin * rgb(0.86, 0.56, 0.52), rgb(192, 42, 58), 0.75 * f.lip_red)
    bow = 0.030 * full * (1.0 - np.abs(SPAN) ** 1.6) * (1.0 - 0.22 * np.exp(-((SPAN / 0.16) ** 2)))
    pout = 0.040 * full * bulge**0.8

    def between(top: np.ndarray, bottom: np.ndarray) -> Points:
        return np.concatenate((np.stack((x, top), axis=1), np.stack((x, bottom), axis=1)[::-1]))

    canvas.paint(between(upper - bow, upper + 0.004), 0.86 * lip)
    canvas.paint(between(lower - 0.004, lower + pout), lip)
    shine = ellipse(face.at(0.015 * f.light_x, 1.1), lower[7] + 0.4 * pout[7], 0.034, 0.008)
    canvas.paint(shine, mix(lip, WHITE, 0.6), 0.55)
    if opening > 0.2:
        inside = canvas.paint(between(upper, lower), rgb(92, 22, 28))
        teeth = between(upper - 0.01, upper + (0.36 + 0.34 * max(c, 0.0)) * tall * (1.0 - SPAN**4))
        canvas.paint(teeth, rgb(250, 246, 238) - 14.0 * f.age, 0.96, within=inside)
    seam = brush(np.stack((x, upper), axis=1), (0.003, 0.012, 0.012, 0.003))
    canvas.paint(seam, rgb(96, 34, 36) * (1.0 - 0.3 * f.skin_tone), 0.75)
    for end in (0, -1):
        canvas.paint(ellipse(x[end], line[end], 0.014, 0.011), skin * rgb(0.55, 0.36, 0.33), 0.55)


def paint_mustache(canvas: Canvas, face: Face, style: HairStyle) -> None:
    """Two wings between the nose and the upper lip."""
    y = 0.5 * (face.nose + face.mouth) + 0.004
    for side in (-1.0, 1.0):
        wing = [(0.0, y - 0.018), (side * 0.05, y - 0.016), (side * 0.105, y + 0.03), (side * 0.12, y + 0.05)]
        wing += [(side * 0.085, y + 0.036), (side * 0.03, y + 0.022), (-side * 0.008, y + 0.018)]
        canvas.paint(
            closed_curve([(face.at(px, 1.15), py) for px, py in wing]), mix(0.85 * style.color, style.brow, 0.6), 0.95
        )


def paint_eye(canvas: Canvas, f: FaceFactors, face: Face, style: HairStyle, side: float) -> None:
    """White, iris, pupil, two lights, the upper lid with lashes, and the brow. ``side`` -1 is left in the picture."""
    x = face.at(side * face.eye)
    narrow = 1.0 - 0.25 * abs(face.turn / face.width) * (side * face.turn > 0)
    smile = max(f.mouth_curvature, 0.0)
    half = 0.0745 * f.eye_size * (1.0 - 0.06 * f.age) * narrow
    tall = 0.0465 * f.eye_size * f.eye_opening * (1.0 - 0.14 * f.age)
    tall *= (1.0 - 0.16 * smile) * (1.1 - 0.15 * f.masculinity)
    slant = 0.010 * f.eye_slant - 0.006 * f.age
    inner, outer = x - side * half, x + side * half
    upper = [(inner, 0.012), (x - side * 0.45 * half, -0.75 * tall), (x + side * 0.2 * half, -tall - 0.3 * slant)]
    upper += [(x + side * 0.72 * half, -0.55 * tall - slant), (outer, 0.004 - slant)]
    under = [(x + side * 0.5 * half, 0.72 * tall), (x - side * 0.2 * half, 0.82 * tall)]
    skin = face.skin
    almond = canvas.paint(closed_curve(upper + under), mix(rgb(250, 247, 244), skin, 0.12))
    radius, gx = 0.0405 * f.eye_size, x + 0.014 * f.gaze + 0.12 * face.turn
    color = palette(IRIS, f.iris)
    canvas.paint(ellipse(gx, -0.002, radius, radius), 0.55 * color, within=almond)
    canvas.paint(ellipse(gx, 0.002, 0.80 * radius, 0.80 * radius), mix(color, WHITE, 0.12), within=almond)
    canvas.paint(ellipse(gx, -0.002, 0.48 * radius, 0.48 * radius), rgb(16, 12, 14), within=almond)
    lid = open_curve(upper)
    canvas.paint(brush(moved(lid, 0.0, 0.010), (0.004, 0.02, 0.02, 0.004)), 0.55 * skin, 0.45, within=almond)
    glint = 1.0 if f.light_x > 0 else -1.0
    canvas.paint(ellipse(gx + glint * 0.014, -0.015, 0.0125, 0.0125), WHITE, 0.95)
    lash = mix(rgb(30, 20, 20), skin * rgb(0.4, 0.3, 0.3), 0.5 * f.masculinity)
    canvas.paint(brush(lid, (0.3, 1.0, 1.0, 0.6), 0.021 - 0.006 * f.masculinity), lash, 0.92)
    if f.masculinity < 0.5:
        flick = open_curve([(x + side * 0.6 * half, -0.7 * tall - slant), (outer + side * 0.016, -0.013 - 1.3 * slant)])
        canvas.paint(brush(flick, (0.014, 0.003)), lash, 0.9)
    if canvas.fine:
        canvas.paint(ellipse(gx - glint * 0.013, 0.013, 0.007, 0.007), WHITE, 0.5)
        canvas.paint(brush(moved(lid, 0.0, -0.022), (0.002, 0.008, 0.008, 0.002)), skin * rgb(0.55, 0.38, 0.36), 0.45)

    y = -0.094 - 0.012 * f.brow_height - 0.012 * smile * (f.mouth_opening > 0.3) + 0.006 * f.masculinity
    dip = 0.006 * f.brow_slant + 0.008 * min(f.mouth_curvature, 0.0)
    points = [(x - side * 0.078, y + 0.012 + dip), (x - side * 0.02, y - 0.008)]
    points += [(x + side * 0.045, y - 0.012), (x + side * 0.088, y + 0.014 - 0.5 * dip)]
    weight = f.brow_weight * (0.019 + 0.012 * f.masculinity)
    canvas.paint(brush(open_curve(points), (0.7, 1.0, 0.8, 0.2), weight), style.brow, 0.85)


def paint_glasses(canvas: Canvas, f: FaceFactors, face: Face) -> None:
    """Two rims with a faint reflection, a bridge, and temples that reach the ears."""
    rim, thick = palette(RIM, f.glasses_shade), 0.019 * f.glasses_weight
    rx, ry, box = 0.103, 0.070 + 0.022 * f.glasses_round, 0.55 + 0.45 * f.glasses_round
    for side in (-1.0, 1.0):
        x = face.at(side * (face.eye + 0.004), 1.1)
        lens = ellipse(x, 0.008, rx, ry, box)
        inner = ellipse(x, 0.008, rx - thick, ry - thick, box)
        inside = canvas.paint(inner, rgb(214, 232, 246), 0.13)
        glint = brush(np.array(((x + 0.06, -0.07), (x - 0.005, 0.085))), (0.030, 0.030))
        canvas.paint(glint, WHITE, 0.26, within=inside)
        canvas.paint(np.concatenate((lens, lens[:1], inner[:1], inner[::-1])), rim, 0.96)
        temple = np.array(((x + side * (rx - 0.01), -0.014), (side * (face.width + 0.012), 0.004)))
        canvas.paint(brush(temple, (1.0, 0.8), thick), rim, 0.9)
    left, right = face.at(-face.eye - 0.004, 1.1) + rx, face.at(face.eye + 0.004, 1.1) - rx
    middle = 0.5 * (left + right)
    bridge = open_curve([(left - 0.012, -0.002), (middle, -0.016), (right + 0.012, -0.002)])
    canvas.paint(brush(bridge, (1.0, 1.0), thick), rim, 0.96)
