"""The data set without a download: portraits that the procedural artist draws on demand."""

from functools import cached_property

import numpy as np
import PIL
import torch
from torch import Tensor

from glow_app.data.alignment import Eyes
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
"""Default number of faces of each split."""

SPLIT_STRIDE = 10_000_000
"""Distance between the first faces of two splits, and largest size of a split: splits never share a face."""


class DrawnFaces(ImageSource):
    """Drawn portraits with attributes named as in CelebA, and the factors that they were drawn from.

    Face i of a split is face ``SPLIT_STRIDE * k + i`` of the seed (k = 0, 1, 2 for train, val, test); a longer split
    starts with the faces of a shorter one. The artist is deterministic, so nothing is stored on disk.

    Args:
        split: ``train``, ``val`` or ``test``.
        image_size: side in pixels, one of ``FACE_SIZES``.
        seed: seed of the faces, from 0.
        n_images: number of faces; None for ``SPLIT_SIZES``.

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
        """Factors of face ``index`` of this split."""
        return sample_factors(self.seed, self._number(index))

    @property
    def eyes(self) -> Eyes:
        """Centres of the eyes of a face without tilt and shifts."""
        return 0.368, 0.49, 0.632, 0.49

    def item_name(self, index: int) -> str:
        """Seed and number of the face: ``sample_factors`` of them draws it again at any size."""
        return f"face_{self.seed}_{self._number(index):08d}"

    def content(self) -> dict[str, object]:
        # Pillow's outlines and the last bit of NumPy's shading differ between versions.
        libraries = {"pillow": PIL.__version__, "numpy": np.__version__}
        return {"drawing_version": DRAWING_VERSION, "seed": self.seed, "first": self.first, **libraries}

    # Computed on first use, since 10,000 faces take about half a second.
    @cached_property
    def attributes(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Attributes, uint8 (N, len(attribute_names)): 1 if the face has the attribute."""
        return self._labels[0]

    @property
    def factors(self) -> Tensor:
        """Factors of the faces, float32 (N, len(factor_names)), in the units of ``FaceFactors``."""
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
