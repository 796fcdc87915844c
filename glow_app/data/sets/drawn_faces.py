"""The data set that needs no download: portraits that the procedural artist draws when they are asked for."""

from functools import cached_property

import numpy as np
import PIL
import torch
from torch import Tensor

from glow_app.data.faces.face import (
    DRAWING_VERSION,
    FACE_ATTRIBUTES,
    FACE_SIZES,
    FACTOR_NAMES,
    FaceFactors,
    draw_face,
    sample_factors,
)
from glow_app.data.source import SPLITS, ImageSource
from glow_app.errors import UserError

SPLIT_SIZES = {"train": 10_000, "val": 1_000, "test": 1_000}
"""Number of faces of each split, unless asked otherwise."""

SPLIT_STRIDE = 10_000_000
"""Faces between the first ones of two splits: however many are asked for, splits never share one."""


class DrawnFaces(ImageSource):
    """Drawn portraits with CelebA's names for their attributes, and the numbers that they were drawn from.

    Face i of a split is face ``SPLIT_STRIDE * k + i`` of the seed (k = 0, 1, 2 for train, val, test); a longer split
    starts with the faces of a shorter one. The artist is deterministic, so nothing is stored on disk.

    Args:
        split: ``train``, ``val`` or ``test``.
        image_size: side in pixels, one of ``FACE_SIZES``.
        seed: which endless gallery, from 0.
        n_images: how many of its faces; None for ``SPLIT_SIZES``.

    Attributes:
        factor_names: names of the columns of ``factors``.
    """

    name = "drawn_faces"
    attribute_names = FACE_ATTRIBUTES
    factor_names = FACTOR_NAMES

    def __init__(self, split: str, image_size: int = 32, seed: int = 0, n_images: int | None = None) -> None:
        if split not in SPLITS:
            raise UserError(f"drawn_faces has no split {split!r}: choose one of {', '.join(SPLITS)}")
        if image_size not in FACE_SIZES:
            low, high = FACE_SIZES[0], FACE_SIZES[-1]
            raise UserError(
                f"drawn_faces cannot draw image_size={image_size}: choose a multiple of 8 from {low} to {high}"
            )
        if not 0 <= seed < 2**63:
            raise UserError(f"drawn_faces cannot use seed={seed}: choose a whole number from 0 to 2^63 - 1")
        if n_images is not None and not 1 <= n_images <= SPLIT_STRIDE:
            raise UserError(f"drawn_faces cannot draw n_images={n_images}: choose from 1 to {SPLIT_STRIDE}")
        self.split = split
        self.seed = seed
        self.image_size = image_size
        self.image_shape = (3, image_size, image_size)
        self.n_images = SPLIT_SIZES[split] if n_images is None else n_images
        self.first = SPLIT_STRIDE * SPLITS.index(split)
        self.preprocessing = f"drawn at {image_size}x{image_size} RGB by version {DRAWING_VERSION} of the face artist"

    def __len__(self) -> int:
        return self.n_images

    def __getitem__(self, index: int) -> Tensor:
        return torch.from_numpy(draw_face(self.face(index), self.image_size)).permute(2, 0, 1).contiguous()

    def face(self, index: int) -> FaceFactors:
        """What face ``index`` of this split is drawn from."""
        return sample_factors(self.seed, self._number(index))

    def item_name(self, index: int) -> str:
        """Seed and number of the face: with ``sample_factors`` enough to draw it again at any size."""
        return f"face_{self.seed}_{self._number(index):08d}"

    def content(self) -> dict[str, object]:
        # Pillow rasterises outlines, and NumPy rounds the last bit of the shading, each version in its own way.
        libraries = {"pillow": PIL.__version__, "numpy": np.__version__}
        return {"drawing_version": DRAWING_VERSION, "seed": self.seed, "first": self.first, **libraries}

    # The first use takes about half a second for 10,000 faces, so that a source is made in no time.
    @cached_property
    def attributes(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """uint8 (N, len(attribute_names)), 1 where the face has the attribute."""
        return self._labels[0]

    @property
    def factors(self) -> Tensor:
        """float32 (N, len(factor_names)): what the faces are drawn from, with units as in ``FaceFactors``."""
        return self._labels[1]

    @cached_property
    def _labels(self) -> tuple[Tensor, Tensor]:
        faces = [self.face(index) for index in range(self.n_images)]
        attributes = torch.tensor([face.attributes() for face in faces], dtype=torch.uint8)
        return attributes, torch.tensor([face.as_vector() for face in faces], dtype=torch.float32)

    def _number(self, index: int) -> int:
        if not 0 <= index < self.n_images:
            raise IndexError(f"face {index} of {self.n_images}")
        return self.first + index
