"""Finds faces and their eyes in photos, by dlib's HOG detector and its 5-point landmarks (extra ``align``)."""

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from glow_app.errors import UserError

SHORTEST, LONGEST = 400, 1000
"""Pixels of the longer side of a photo in which faces are looked for: others are enlarged or reduced to these."""

_CORNERS = ((0, 1), (2, 3))
"""The landmarks at the corners of each eye; the fifth is below the nose."""


class Face(NamedTuple):
    """A face in a photo, in pixels from its upper left corner.

    Attributes:
        box: left, top, right, bottom.
        eyes: float64 (2, 2): (x, y) of the centres of both eyes, the left one first.
    """

    box: tuple[float, float, float, float]
    eyes: np.ndarray

    def __str__(self) -> str:
        left, top, right, bottom = self.box
        return f"{right - left:.0f} pixels wide at ({(left + right) / 2:.0f}, {(top + bottom) / 2:.0f})"


def find_faces(photo: Image.Image) -> list[Face]:
    """Finds the faces in an upright photo in mode ``RGB`` or ``L``, from left to right.

    Raises:
        UserError: the packages of the extra ``align`` are missing.
    """
    detect, landmarks = _tools()
    scale = min(max(1.0, SHORTEST / max(photo.size)), LONGEST / max(photo.size))
    width, height = (max(1, round(side * scale)) for side in photo.size)
    pixels = np.array(photo.resize((width, height), Image.Resampling.BILINEAR))
    # Faces of 80 pixels and more are found; in a picture of twice the size, which takes four times as long, of 40.
    boxes = detect(pixels, 0) or detect(pixels, 1)
    unscaled = np.array([photo.width / width, photo.height / height])
    faces = []
    for box in boxes:
        shape = landmarks(pixels, box)
        points = np.array([(shape.part(i).x + 0.5, shape.part(i).y + 0.5) for i in range(shape.num_parts)]) * unscaled
        eyes = sorted((points[list(corners)].mean(0) for corners in _CORNERS), key=lambda eye: eye[0])
        edges = np.array([box.left(), box.top(), box.right() + 1, box.bottom() + 1]) * [*unscaled, *unscaled]
        left, top, right, bottom = edges.tolist()
        faces.append(Face((left, top, right, bottom), np.stack(eyes)))
    return sorted(faces, key=lambda face: face.box)


def one_face(photo: Image.Image, name: str, number: int | None) -> Face:
    """Finds the one face in a photo, or that of a number, counted from 1, from left to right.

    Args:
        photo: upright, in mode ``RGB`` or ``L``.
        name: name of the photo in error messages.
        number: which face; None if there is only one.

    Raises:
        UserError: there is none, or there are several and no number is given, or not so many.
    """
    faces = find_faces(photo)
    if not faces:
        raise UserError(f"image {name}: no face is found; choose a photo that shows one from the front, or crop it")
    if number is None and len(faces) == 1:
        return faces[0]
    if number is None or number > len(faces):
        known = "; ".join(f"face={place}: {face}" for place, face in enumerate(faces, 1))
        wrong = "choose one of" if number is None else f"and face={number} is given; choose one of"
        raise UserError(f"image {name}: {len(faces)} face{'s'[: len(faces) > 1]} found, {wrong} {known}")
    return faces[number - 1]


def is_installed() -> bool:
    """Returns whether the packages of the extra ``align`` are there."""
    return all(find_spec(name) for name in ("dlib", "face_recognition_models"))


@lru_cache(maxsize=1)
def recognition_network() -> Any:
    """Dlib's network of 128 numbers for a face, with its method ``compute_face_descriptor``.

    Raises:
        UserError: the packages of the extra ``align`` are missing.
    """
    dlib, folder = _packages()
    return dlib.face_recognition_model_v1(str(folder / "dlib_face_recognition_resnet_model_v1.dat"))


@lru_cache(maxsize=1)
def _tools() -> tuple[Any, Any]:
    """The detector and the landmarks."""
    dlib, folder = _packages()
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))


def _packages() -> tuple[Any, Path]:
    """Dlib, and the folder of its models.

    Raises:
        UserError: a package is missing.
    """
    weights = find_spec("face_recognition_models")  # not imported: it needs a part of setuptools that is gone
    try:
        import dlib  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise _missing("dlib") from error
    if weights is None or not weights.submodule_search_locations:
        raise _missing("face_recognition_models")
    return dlib, Path(weights.submodule_search_locations[0], "models")


def _missing(package: str) -> UserError:
    return UserError(f"align=true needs {package}: install it with pip install 'glow_app[align]'")
