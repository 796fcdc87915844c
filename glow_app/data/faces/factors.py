"""The factors of a drawn face, and how they are sampled."""

from dataclasses import dataclass, fields

import numpy as np

FACE_ATTRIBUTES: tuple[str, ...] = (
    "Smiling",
    "Young",
    "Eyeglasses",
    "Male",
    "Black_Hair",
    "Blond_Hair",
    "Brown_Hair",
    "Gray_Hair",
    "Bald",
    "Bangs",
    "Mustache",
    "Pale_Skin",
    "Wearing_Hat",
    "Mouth_Slightly_Open",
    "Rosy_Cheeks",
)
"""CelebA's own names, in the order of :meth:`FaceFactors.attributes`."""


@dataclass(frozen=True)
class FaceFactors:
    """The numbers that one face is drawn from.

    Lengths are fractions of the frame's side; a "relative" size is 1 for the average. Ranges are those of
    :func:`sample_factors`; the drawing accepts values somewhat outside them.

    Attributes:
        masculinity: [0, 1], above 1/2 is Male: heavier jaw and brows, thinner lips, no long lashes.
        age: [0, 1], 0 is about 18 and 1 about 80 years; below 1/2 is Young. Wrinkles, thinner lips, smaller eyes.
        skin_tone: [0, 1], 0 fair to 1 deep; below 0.13 is Pale_Skin.
        blush: [0, 1], redness of the cheeks; above 0.55 is Rosy_Cheeks.
        face_width: [0.93, 1.07], relative.
        face_length: [0.93, 1.07], relative, from the eyes to the chin.
        jaw_width: [0.85, 1.15], relative; small is a pointed chin.
        eye_size: [0.88, 1.14], relative.
        eye_spacing: [0.94, 1.06], relative.
        eye_slant: [-1, 1], positive lifts the outer corners.
        iris: [0, 1], brown, hazel, green, blue, grey along the way.
        brow_height: [-1, 1], positive is higher above the eye.
        brow_slant: [-1, 1], positive lowers the inner ends.
        brow_weight: [0.75, 1.25], relative thickness.
        nose_width: [0.85, 1.15], relative.
        nose_length: [0.9, 1.1], relative.
        lip_fullness: [0.75, 1.3], relative.
        lip_red: [0, 1], 0 is the colour of the skin, 1 a red lipstick.
        mouth_width: [0.9, 1.1], relative.
        mouth_curvature: [-1, 1], positive lifts the corners; above 0.3 is Smiling. Samples are in [-0.3, 1].
        mouth_opening: [0, 1], gap between the lips; above 0.3 is Mouth_Slightly_Open.
        eye_opening: [0.85, 1.1], relative.
        gaze: [-1, 1], direction of the gaze, positive is to the right of the picture.
        hair_dark: [0, 1], 0 pale blond to 1 black. Below 0.3 is Blond_Hair, above 0.7 Black_Hair, else Brown_Hair.
        hair_red: [0, 1], 0 ashen to 1 ginger; above 0.75 the hair is red, for which CelebA has no attribute.
        hair_gray: [0, 1], share of white hair; above 1/2 is Gray_Hair, whatever ``hair_dark`` is.
        hair_length: [0, 1], 0 is cropped, 0.4 reaches the mouth, 0.7 the chin, 1 the shoulders; below 0.3 the
            ears show.
        hair_volume: [0, 1], thickness above the skull.
        hair_wave: [0, 1], 0 straight to 1 curly outline.
        hair_part: [-1, 1], position of the parting, from the left of the picture to the right.
        hairline: [0, 1], 1 is a high forehead.
        beard: [0, 1], 0 shaven, 0.3 stubble, 1 full.
        glasses_round: [0, 1], 0 rectangular to 1 round.
        glasses_shade: [0, 1], colour of the rim: black, tortoise, red, blue.
        glasses_weight: [0.8, 1.3], relative thickness of the rim.
        hat_brim: [0, 1], 0 is a knitted cap, 1 a wide sun hat.
        hat_hue: [0, 1], position on the colour circle.
        hat_light: [0.3, 0.75], lightness.
        clothes_hue: [0, 1], position on the colour circle.
        clothes_light: [0.25, 0.85], lightness.
        yaw: [-0.3, 0.3] radians, positive turns the face to the right of the picture.
        tilt: [-0.1, 0.1] radians, positive is clockwise.
        shift_x: [-0.025, 0.025], of the point between the eyes.
        shift_y: [-0.025, 0.025], likewise, positive is down.
        scale: [0.96, 1.05], relative size of the head.
        light_x: [-1, 1], position of the light, -1 left and 1 right.
        light_y: [-1, 0.1], -1 is above.
        light_strength: [0.5, 1], contrast between the lit side and the shadow.
        light_warmth: [-1, 1], cool daylight to evening sun.
        background_hue: [0, 1], position on the colour circle.
        background_turn: [-0.12, 0.12], change of hue from one end of the gradient to the other.
        background_light: [0.48, 0.88], lightness.
        background_color: [0.08, 0.42], saturation.
        background_angle: [0, 2 pi] radians, direction of the gradient.
        bald: no hair on the top of the head.
        bangs: hair falls over the forehead.
        mustache: a mustache.
        eyeglasses: glasses.
        hat: a hat.
        texture_seed: unsigned 63 bits, seeds the texture and the pixel noise; the only field that is not a factor.
    """

    masculinity: float
    age: float
    skin_tone: float
    blush: float
    face_width: float
    face_length: float
    jaw_width: float
    eye_size: float
    eye_spacing: float
    eye_slant: float
    iris: float
    brow_height: float
    brow_slant: float
    brow_weight: float
    nose_width: float
    nose_length: float
    lip_fullness: float
    lip_red: float
    mouth_width: float
    mouth_curvature: float
    mouth_opening: float
    eye_opening: float
    gaze: float
    hair_dark: float
    hair_red: float
    hair_gray: float
    hair_length: float
    hair_volume: float
    hair_wave: float
    hair_part: float
    hairline: float
    beard: float
    glasses_round: float
    glasses_shade: float
    glasses_weight: float
    hat_brim: float
    hat_hue: float
    hat_light: float
    clothes_hue: float
    clothes_light: float
    yaw: float
    tilt: float
    shift_x: float
    shift_y: float
    scale: float
    light_x: float
    light_y: float
    light_strength: float
    light_warmth: float
    background_hue: float
    background_turn: float
    background_light: float
    background_color: float
    background_angle: float
    bald: bool
    bangs: bool
    mustache: bool
    eyeglasses: bool
    hat: bool
    texture_seed: int

    def attributes(self) -> tuple[int, ...]:
        """Attributes visible in the drawing: 0 or 1 for each of ``FACE_ATTRIBUTES``.

        A bald head has no hair colour and no bangs; under a hat it does not count as bald.
        """
        gray = not self.bald and self.hair_gray > 0.5
        colored = not (self.bald or gray or self.hair_red > 0.75)
        return (
            int(self.mouth_curvature > 0.3),
            int(self.age < 0.5),
            int(self.eyeglasses),
            int(self.masculinity > 0.5),
            int(colored and self.hair_dark > 0.7),
            int(colored and self.hair_dark < 0.3),
            int(colored and 0.3 <= self.hair_dark <= 0.7),
            int(gray),
            int(self.bald and not self.hat),
            int(self.bangs and not self.bald),
            int(self.mustache),
            int(self.skin_tone < 0.13),
            int(self.hat),
            int(self.mouth_opening > 0.3),
            int(self.blush > 0.55),
        )

    def as_vector(self) -> tuple[float, ...]:
        """Factors in the order of ``FACTOR_NAMES``, booleans as 1 and 0."""
        return tuple(float(getattr(self, name)) for name in FACTOR_NAMES)


FACTOR_NAMES: tuple[str, ...] = tuple(field.name for field in fields(FaceFactors) if field.name != "texture_seed")


class _Dice:
    """Random numbers of one face in sequence, from the upper 53 bits of Philox words."""

    def __init__(self, seed: int, index: int, n_throws: int) -> None:
        # Raw words and our own arithmetic: NumPy never changes Philox's words, but may change its distributions.
        self.raw = np.random.Philox(key=np.array([seed, index], dtype=np.uint64)).random_raw(n_throws + 1).tolist()
        self.next = 0

    def flat(self, low: float = 0.0, high: float = 1.0) -> float:
        """Uniform on [low, high)."""
        self.next += 1
        return low + (high - low) * ((self.raw[self.next] >> 11) * 2.0**-53)

    def bell(self, low: float, high: float) -> float:
        """Mean of three uniform numbers: most often near the middle of [low, high)."""
        return (self.flat(low, high) + self.flat(low, high) + self.flat(low, high)) / 3.0

    def chance(self, probability: float) -> bool:
        return self.flat() < probability


def _hair_dark(kind: float, u: float, skin_tone: float) -> float:
    """Darkness of the hair from two uniform numbers: blond is rare with dark skin."""
    blond, brown = (0.32, 0.40) if skin_tone < 0.5 else (0.05, 0.30)
    if kind < blond:
        return 0.20 * u
    if kind < blond + brown:
        return 0.40 + 0.22 * u
    return 0.80 + 0.20 * u


def sample_factors(seed: int, index: int) -> FaceFactors:
    """Samples face number ``index`` of ``seed`` (both in [0, 2^63)): a pure function, the same on every platform.

    Attributes are correlated as in CelebA: mustaches are male, bald heads mostly male, grey hair mostly old, and a
    smiling mouth is more often open. Factors keep a distance from the thresholds of labels, so that labels are clear.
    """
    dice = _Dice(seed, index, n_throws=128)
    flat, bell, chance = dice.flat, dice.bell, dice.chance

    male, young, smiling = chance(0.47), chance(0.66), chance(0.52)
    opened = chance(0.62 if smiling else 0.25)
    masculinity = flat(0.72, 1.0) if male else flat(0.0, 0.28)
    age = flat(0.0, 0.44) if young else flat(0.58, 1.0)
    skin_tone = flat(0.0, 0.10) if chance(0.14) else 0.18 + 0.82 * flat() ** 1.3
    hair_dark = _hair_dark(flat(), flat(), skin_tone)
    hair_red = flat(0.82, 1.0) if chance(0.09) and skin_tone < 0.5 else flat(0.0, 0.5)
    gray = chance(0.02 if young else 0.55)
    hair_gray = flat(0.7, 1.0) if gray else flat(0.0, 0.3) * age
    bald = chance((0.08 if young else 0.30) if male else 0.03)
    bangs = chance(0.20 if male else 0.36) and not bald
    mustache = chance(0.26) and male
    bearded = chance(0.5 if mustache else 0.25) and male
    beard = bearded * (flat(0.5, 1.0) if mustache else flat(0.15, 0.4))
    hair_length = flat(0.0, 0.12) if (chance(0.86) if male else chance(0.15)) else flat(0.45, 1.0)

    return FaceFactors(
        masculinity=masculinity,
        age=age,
        skin_tone=skin_tone,
        blush=flat(0.65, 1.0) if chance(0.16 if male else 0.30) else flat(0.0, 0.42),
        face_width=bell(0.93, 1.07),
        face_length=bell(0.94, 1.06) + 0.02 * (masculinity - 0.5),
        jaw_width=bell(0.85, 1.03) + 0.12 * masculinity,
        eye_size=bell(0.88, 1.14),
        eye_spacing=bell(0.94, 1.06),
        eye_slant=bell(-1.0, 1.0),
        iris=0.4 * flat() if skin_tone > 0.5 else flat(),
        brow_height=bell(-1.0, 1.0),
        brow_slant=bell(-1.0, 1.0),
        brow_weight=bell(0.75, 1.25),
        nose_width=bell(0.85, 1.15),
        nose_length=bell(0.9, 1.1),
        lip_fullness=bell(0.85, 1.3) - 0.1 * masculinity,
        lip_red=flat(0.0, 0.25) if male else flat(0.2, 1.0),
        mouth_width=bell(0.9, 1.1),
        mouth_curvature=flat(0.45, 1.0) if smiling else flat(-0.3, 0.16),
        mouth_opening=flat(0.42, 1.0) if opened else flat(0.0, 0.12),
        eye_opening=bell(0.85, 1.1),
        gaze=bell(-1.0, 1.0),
        hair_dark=hair_dark,
        hair_red=hair_red,
        hair_gray=hair_gray,
        hair_length=hair_length,
        hair_volume=flat(),
        hair_wave=flat(),
        hair_part=bell(-1.0, 1.0),
        hairline=bell(0.0, 0.8) + 0.2 * age,
        beard=beard,
        glasses_round=flat(),
        glasses_shade=flat(),
        glasses_weight=flat(0.8, 1.3),
        hat_brim=flat(),
        hat_hue=flat(),
        hat_light=flat(0.3, 0.75),
        clothes_hue=flat(),
        clothes_light=flat(0.25, 0.85),
        yaw=bell(-0.3, 0.3),
        tilt=bell(-0.1, 0.1),
        shift_x=bell(-0.025, 0.025),
        shift_y=bell(-0.025, 0.025),
        scale=bell(0.96, 1.05),
        light_x=flat(0.35, 1.0) * (1.0 if chance(0.5) else -1.0),
        light_y=flat(-1.0, 0.1),
        light_strength=flat(0.5, 1.0),
        light_warmth=flat(-1.0, 1.0),
        background_hue=flat(),
        background_turn=flat(-0.12, 0.12),
        background_light=flat(0.48, 0.88),
        background_color=flat(0.08, 0.42),
        background_angle=flat(0.0, 2.0 * np.pi),
        bald=bald,
        bangs=bangs,
        mustache=mustache,
        eyeglasses=chance(0.22 if young else 0.34),
        hat=chance(0.14),
        texture_seed=dice.raw[0] >> 1,
    )
