"""Images that no model of natural images should call usual: noise, and a single colour."""

from collections.abc import Sequence

import torch
from torch import Tensor

from glow_app import noise
from glow_app.data.source import ImageSource

CONTROLS = ("noise", "constant")
"""Kinds of images."""

N_IMAGES = 10_000
"""Images of each kind."""


class Controls(ImageSource):
    """Images without content: ``noise``, uniform in every subpixel, or ``constant``, a uniformly drawn colour.

    Image i is a function of (seed, i).

    Args:
        kind: one of ``CONTROLS``.
        image_shape: (C, H, W).
        seed: seed of the pixels.
    """

    split = "test"

    def __init__(self, kind: str, image_shape: tuple[int, int, int], seed: int) -> None:
        self.name, self.image_shape, self.seed = kind, image_shape, seed
        self.preprocessing = {"noise": "uniform noise", "constant": "one random colour each"}[kind]

    def __len__(self) -> int:
        return N_IMAGES

    def __getitem__(self, index: int) -> Tensor:
        return self.fetch([index])[0]

    def fetch(self, indices: Sequence[int]) -> Tensor:
        channels, height, width = self.image_shape
        spread = 1 if self.name == "constant" else height * width
        drawn = noise.uniform(self.seed, noise.Stream.PIXELS, torch.tensor(indices), channels * spread)
        pixels = (256 * drawn).to(torch.uint8).view(len(drawn), channels, *([1, 1] if spread == 1 else [height, width]))
        return pixels.expand(-1, -1, height, width).contiguous()

    def item_name(self, index: int) -> str:
        return f"{self.name} {index}"

    def content(self) -> dict[str, object]:
        return {"kind": self.name, "seed": self.seed}
