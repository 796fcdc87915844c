"""Data sets of the Hugging Face hub, read by its ``datasets`` library."""

from typing import Any

import torch
from torch import Tensor

from glow_app.data.formats.files import OnCorrupt, image_size_pair, require_choice, require_split
from glow_app.data.image import Channels, open_image, to_tensor
from glow_app.data.sets.splits import name_hash
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.data.transforms import centre_crop_aspect, resize_bilinear
from glow_app.errors import UserError

SPLIT_NAMES = {"train": ("train",), "val": ("validation", "valid", "val"), "test": ("test",)}


class HubImages(ImageSource):
    """The images of one data set of the hub.

    Splits: ``train``, ``validation`` (also ``valid``, ``val``) and ``test`` of the data set. Of those that it lacks, a
    hash of the row's number takes a tenth of ``train`` each.

    Images are the first column of the feature type ``Image``, classes the first ``ClassLabel``, if there is one and all
    images of the split are labelled. Preprocessing: crop to the central part with the right proportions, then
    antialiased bilinear resize.

    Args:
        root: ``owner/name`` of the data set.
        split: ``train``, ``val`` or ``test``.
        image_size: one side, or (H, W).
        channels: 3 for colour, 1 for grey; images of the other kind are converted.
        on_corrupt: how the caller reacts to a ``CorruptImage``, which ``source[i]`` always raises; see that class.

    Raises:
        UserError: the package ``datasets`` is missing, the hub refuses, or the data set has no ``train`` or no images.
    """

    name = "hf"

    def __init__(
        self,
        root: str,
        split: str,
        image_size: int | tuple[int, int],
        channels: Channels = 3,
        on_corrupt: OnCorrupt = "error",
    ) -> None:
        require_split(split)
        require_choice("data.channels", channels, (1, 3))
        height, width = image_size_pair(image_size)
        self.root, self.split, self.on_corrupt = root, split, on_corrupt
        self.channels: Channels = channels
        self.image_shape = (channels, height, width)
        library, parts = _load(root)
        found = {ours: next((name for name in names if name in parts), None) for ours, names in SPLIT_NAMES.items()}
        if found["train"] is None:
            raise UserError(f"data=hf: {root} has no split train, but {', '.join(parts)}; choose another data set")
        part = parts[found[split] or found["train"]]
        self.rows = list(range(len(part)))
        if found[split] is None or split == "train":
            self.rows = [row for row in self.rows if _of_train(row, found) == split]
        if not self.rows:
            raise EmptySplit(f"data=hf: the split {split} of {root} is empty")
        self.column = _column(part.features, library.Image)
        if self.column is None:
            kinds = ", ".join(f"{name}: {type(kind).__name__}" for name, kind in part.features.items())
            raise UserError(f"data=hf: {root} has no column of images ({kinds}); choose another data set")
        self.preprocessing = f"column {self.column}, central part, antialiased bilinear to {height}x{width}" + (
            ", grey" if channels == 1 else ""
        )
        self._digest = part._fingerprint
        labels = _column(part.features, library.ClassLabel)
        if labels is not None:
            classes = torch.tensor(part[labels][:])[self.rows]
            if (classes >= 0).all():  # the hub writes -1 where a label is withheld
                self.classes, self.class_names = classes, tuple(part.features[labels].names)
        self._part = part.cast_column(self.column, library.Image(decode=False))  # as encoded: we decode

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        encoded = self._part[self.rows[index]][self.column]
        image = open_image(encoded["bytes"] or encoded["path"], self.channels, self.item_name(index))
        _, height, width = self.image_shape
        return to_tensor(resize_bilinear(centre_crop_aspect(image, height, width), height, width))

    def item_name(self, index: int) -> str:
        return f"{self.root} {self.split} {self.rows[index]}"

    def content(self) -> dict[str, object]:
        return {"root": self.root, "part": self._digest}


def _load(root: str) -> tuple[Any, Any]:
    """The library, and all splits of a data set by their names."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise UserError(f"data=hf needs {error.name}: install it with pip install 'glow_app[hf]'") from error
    try:
        return datasets, datasets.load_dataset(root)
    except Exception as error:  # of many types: the hub's, the network's, the disk's
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"data=hf: {root} cannot be loaded ({reason}); check the name, the network and login"
        ) from error


def _of_train(row: int, found: dict[str, str | None]) -> str:
    """The split of a row of ``train``, when those that are not ``found`` are taken from it."""
    share = name_hash(str(row))
    by_hash = "train" if share < 80 else "val" if share < 90 else "test"
    return by_hash if found[by_hash] is None else "train"


def _column(features: Any, kind: type) -> str | None:
    return next((name for name, feature in features.items() if isinstance(feature, kind)), None)
