"""A drawn face with one attribute toggled: what an edit of that attribute should change, and where."""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from glow_app.data.faces.face import draw_face
from glow_app.data.faces.factors import FACE_ATTRIBUTES, FaceFactors
from glow_app.data.sets.drawn_faces import DrawnFaces
from glow_app.data.source import ImageSource

FACTOR_OF: dict[str, tuple[str, int]] = {
    "Smiling": ("mouth_curvature", 1),
    "Young": ("age", -1),
    "Eyeglasses": ("eyeglasses", 1),
    "Male": ("masculinity", 1),
    "Black_Hair": ("hair_dark", 1),
    "Blond_Hair": ("hair_dark", -1),
    "Gray_Hair": ("hair_gray", 1),
    "Bald": ("bald", 1),
    "Bangs": ("bangs", 1),
    "Mustache": ("mustache", 1),
    "Pale_Skin": ("skin_tone", -1),
    "Wearing_Hat": ("hat", 1),
    "Mouth_Slightly_Open": ("mouth_opening", 1),
    "Rosy_Cheeks": ("blush", 1),
}
"""Attribute -> the factor that determines it, and +1 if they grow together, else -1.

Brown_Hair is not here: it is between blond and black, so that no factor grows with it.
"""

SEEN = 2
"""Largest difference in grey levels, in any channel, at which a pixel of two drawings looks the same."""

_TYPICAL: dict[str, tuple[str, float, float]] = {
    "Smiling": ("mouth_curvature", -0.07, 0.72),
    "Young": ("age", 0.79, 0.22),
    "Male": ("masculinity", 0.14, 0.86),
    "Pale_Skin": ("skin_tone", 0.50, 0.05),
    "Mouth_Slightly_Open": ("mouth_opening", 0.06, 0.71),
    "Rosy_Cheeks": ("blush", 0.21, 0.82),
    "Gray_Hair": ("hair_gray", 0.05, 0.85),
}
"""Attribute -> factor, and its middle value in sampled faces without and with the attribute."""

_FLAGS = {"Eyeglasses": "eyeglasses", "Mustache": "mustache", "Wearing_Hat": "hat", "Bangs": "bangs"}

_HAIR_DARK = {"Black_Hair": (0.51, 0.90), "Blond_Hair": (0.51, 0.10), "Brown_Hair": (0.90, 0.51)}
"""Hair colour -> darkness of the hair that replaces it, and its own: brown replaces black and blond, black replaces
brown. The choice does not change where the two drawings differ."""


def toggled(factors: FaceFactors, attribute: str) -> FaceFactors | None:
    """Returns the same face with the attribute removed if it has it, else added.

    Only the factor that determines the attribute changes, to its middle value in sampled faces. An added hair colour
    also replaces red and white hair, and toggled baldness removes the bangs. Other attributes change if they exclude
    this one.

    Returns:
        None if no single factor toggles it: hair colour and bangs of a bald head, baldness under a hat.

    Raises:
        ValueError: ``attribute`` is not one of ``FACE_ATTRIBUTES``.
    """
    has_it = bool(factors.attributes()[FACE_ATTRIBUTES.index(attribute)])
    if factors.bald and (attribute.endswith("_Hair") or attribute == "Bangs"):
        return None
    if attribute == "Bald":
        return None if factors.hat else replace(factors, bald=not has_it, bangs=False)
    if attribute in _FLAGS:
        return replace(factors, **{_FLAGS[attribute]: not has_it})
    if attribute in _HAIR_DARK:
        away, own = _HAIR_DARK[attribute]
        if has_it:
            return replace(factors, hair_dark=away)
        return replace(factors, hair_dark=own, hair_red=min(factors.hair_red, 0.25), hair_gray=0.05)
    factor, without, with_it = _TYPICAL[attribute]
    return replace(factors, **{factor: without if has_it else with_it})


def region(image: Tensor, factors: FaceFactors, attribute: str) -> Tensor | None:
    """Returns where a drawn face and its counterpart from :func:`toggled` differ: bool (H, W).

    Texture and noise are the same in both drawings. The region is widened by 1/32 of the side, at least one pixel,
    because an edit need not match the counterpart's outline.

    Args:
        image: drawing of ``factors``, uint8 (3, H, W).
        factors: factors of the face.
        attribute: one of ``FACE_ATTRIBUTES``.

    Returns:
        None if there is no counterpart, or it looks the same.
    """
    other = toggled(factors, attribute)
    if other is None:
        return None
    size = image.shape[-1]
    counterpart = torch.from_numpy(draw_face(other, size)).permute(2, 0, 1)
    differs = (image.int() - counterpart.int()).abs().amax(0) > SEEN
    if not differs.any():
        return None
    margin = max(1, size // 32)
    return max_pool2d(differs[None].float(), 2 * margin + 1, stride=1, padding=margin)[0] > 0


def drawn(source: ImageSource) -> DrawnFaces | None:
    """Returns the drawn faces behind a source, which may be their cache; None for another data set."""
    behind = getattr(source, "source", source)
    return behind if isinstance(behind, DrawnFaces) else None
