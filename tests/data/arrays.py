"""A source that lives in memory, for tests of what stands above the sources."""

import torch
from torch import Tensor

from glow_app.data.image import CorruptImage
from glow_app.data.source import ImageSource, RandomCropSource


class ArraySource(ImageSource):
    """``n`` random images; image ``i`` is a function of (seed, i). Those in ``corrupt`` cannot be decoded."""

    name = "array"
    preprocessing = "none"

    def __init__(
        self,
        n: int,
        shape: tuple[int, int, int] = (3, 8, 8),
        seed: int = 0,
        corrupt: tuple[int, ...] = (),
        **facts: object,
    ) -> None:
        self.n, self.image_shape, self.seed, self.corrupt, self.facts = n, shape, seed, corrupt, facts
        self.split = "train"
        self.on_corrupt = "error"
        self.classes = torch.arange(n) % 3
        self.class_names = ("a", "b", "c")
        self.attribute_names = ("even",)
        self.attributes = (torch.arange(n) % 2 == 0).to(torch.uint8)[:, None]
        self.decoded: list[int] = []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Tensor:
        self.decoded.append(index)
        if index in self.corrupt:
            raise CorruptImage(self.item_name(index), "damaged")
        generator = torch.Generator().manual_seed(self.seed * 100_003 + index)
        return torch.randint(0, 256, self.image_shape, generator=generator, dtype=torch.uint8)

    def item_name(self, index: int) -> str:
        return f"image-{index}"

    def content(self) -> dict[str, object]:
        return {"seed": self.seed, **self.facts}


class VaryingSource(RandomCropSource, ArraySource):
    """Images of sizes that differ, to be cropped to 8x8."""

    def uncropped(self, index: int) -> Tensor:
        self.decoded.append(index)
        if index in self.corrupt:
            raise CorruptImage(self.item_name(index), "damaged")
        shape = (3, 12, 12 + index) if index % 2 else (3, 12 + index, 12)
        return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(index), dtype=torch.uint8)
