"""Two folders of pictures as a table of one attribute: those that have it, and those that have not."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from glow_app.data.formats.files import digest_files, is_image_name, list_files
from glow_app.data.picture import open_picture
from glow_app.data.source import ImageSource
from glow_app.errors import UserError


class TwoFolders(ImageSource):
    """All images below two folders, which have and have not one attribute. There is one split, ``all``.

    The images of both are spread evenly among each other, in the order of their names, so that every part has some of
    both. They are opened as a picture for a model: see :func:`glow_app.data.picture.open_picture`.

    Args:
        positive: folder of the images with the attribute.
        negative: folder of those without.
        attribute: its name.
        image_shape: (C, H, W) of the model.
        data: options of the data set that the model was trained on.

    Raises:
        UserError: one of them is no folder or holds no images, or an image is in both.
    """

    name = "two_folders"
    split = "all"

    def __init__(
        self,
        positive: str | Path,
        negative: str | Path,
        attribute: str,
        image_shape: tuple[int, int, int],
        data: Mapping[str, Any],
    ) -> None:
        self.image_shape = image_shape
        self.attribute_names = (attribute,)
        self.data = {key: data[key] for key in ("name", "crop", "fit") if key in data}
        self.preprocessing = f"as a picture for a model of {self.data['name']}, {image_shape[1]}x{image_shape[2]}"
        found = {key: _images(key, Path(folder)) for key, folder in (("positive", positive), ("negative", negative))}
        real = {os.path.realpath(path) for path in found["positive"]}
        for path in found["negative"]:
            if os.path.realpath(path) in real:
                raise UserError(f"{path} is in positive and in negative: it has the attribute, or it has not")
        placed = [
            ((number + 0.5) / len(paths), key == "positive", path)
            for key, paths in found.items()
            for number, path in enumerate(paths)
        ]
        placed.sort()
        self.files = [path for _, _, path in placed]
        self.attributes = torch.tensor([[has_it] for _, has_it, _ in placed], dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Tensor:
        return open_picture(self.files[index], self.image_shape, self.data)

    def item_name(self, index: int) -> str:
        return str(self.files[index])

    def content(self) -> dict[str, object]:
        return {"files": digest_files(Path(), map(str, self.files)), "like": self.data}


def _images(key: str, folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is no folder: name a folder of pictures")
    names = [name for name in list_files(folder) if is_image_name(name)]
    if not names:
        raise UserError(f"{key}={folder} holds no images (PNG, JPEG, WebP, ..., hidden files not counted)")
    return [folder.absolute() / name for name in names]
