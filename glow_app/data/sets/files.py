"""Image files that a command is given, each fitted to the images of a model."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.data.image import SUFFIXES
from glow_app.data.picture import open_picture
from glow_app.data.source import ImageSource
from glow_app.errors import UserError


class Files(ImageSource):
    """Image files, and those in and below folders, in the order of their names; opened when they are needed.

    Args:
        paths: files and folders.
        image_shape: (C, H, W); see :func:`glow_app.data.picture.open_picture` for how files are fitted.
        data: options of the data set that the model was trained on.

    Raises:
        UserError: a path does not exist, or a folder holds no image.
    """

    name, split = "files", "all"

    def __init__(self, paths: Sequence[str | Path], image_shape: tuple[int, int, int], data: Mapping[str, Any]) -> None:
        self.image_shape = image_shape
        self.data = data
        self.preprocessing = "fitted as the model's own pictures"
        self.files = [file for path in paths for file in _images_below(str(path))]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return open_picture(self.files[index], self.image_shape, self.data)

    def fetch_readable(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Pixels of several images, uint8 (B, C, H, W), and whether each could be read, bool (B,); zeros if not."""
        pixels = torch.zeros(len(indices), *self.image_shape, dtype=torch.uint8)
        readable = torch.ones(len(indices), dtype=torch.bool)
        for row, index in enumerate(indices):
            try:
                pixels[row] = self[index]
            except UserError:
                readable[row] = False
        return pixels, readable

    def item_name(self, index: int) -> str:
        return self.files[index]

    def content(self) -> dict[str, object]:
        """The files' names, sizes and times of change, digested."""
        digest = hashlib.sha256()
        for file in self.files:
            found = os.stat(file)
            digest.update(f"{file}\0{found.st_size}\0{found.st_mtime_ns}\0".encode(errors="surrogateescape"))
        return {"files": digest.hexdigest()}


def _images_below(path: str) -> list[str]:
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise UserError(f"image {path} does not exist: name files, or folders of files")
        return [path]
    found = [
        os.path.join(folder, name)
        for folder, _, names in os.walk(path)
        for name in names
        if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES
    ]
    if not found:
        raise UserError(f"no images in {path}: neither it nor a folder in it holds {', '.join(SUFFIXES)} files")
    return sorted(found)
