"""What is measured: sizes of a Glow and of its batch, and images to initialise and train it with."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.data.faces.face import draw_face, sample_factors
from glow_app.likelihood import dequantize


@dataclass(frozen=True)
class Shape:
    """A Glow and its batch.

    Attributes:
        size: rows and columns of an RGB image.
        n_levels: L.
        n_steps: K.
        width: hidden channels of the conditioners.
        batch: images of a training step.
        coupling: ``affine`` or ``additive``.
    """

    size: int
    n_levels: int
    n_steps: int
    width: int
    batch: int
    coupling: str = "affine"

    @property
    def name(self) -> str:
        return f"{self.size}-L{self.n_levels}-K{self.n_steps}-w{self.width}"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return (3, self.size, self.size)

    @property
    def n_dims(self) -> int:
        """D, subpixels of an image."""
        return math.prod(self.image_shape)

    @property
    def n_initial(self) -> int:
        """Images to initialise with: a quarter of the published number, which is proportional to 1 / pixels."""
        return max(self.batch, 64 * 32**2 // self.size**2)

    def forward_flops(self) -> float:
        """Floating point operations of one image's log-likelihood, 2 per multiply-add; a training step is 3 of these.

        Counted are the convolutions of the steps and the invertible 1x1 convolutions.
        """
        total, channels = 0, 3
        for level in range(1, self.n_levels + 1):
            channels *= 4
            n_pixels = (self.size >> level) ** 2
            n_answers = channels if self.coupling == "affine" else channels // 2
            conditioner = 9 * channels // 2 * self.width + self.width**2 + 9 * self.width * n_answers
            total += 2 * n_pixels * self.n_steps * (conditioner + channels**2)
            channels //= 2
        return total


NARROW = Shape(32, 3, 8, width=128, batch=16)
DEEP = Shape(32, 3, 32, width=128, batch=16)
WIDE = Shape(32, 3, 8, width=512, batch=8)
CELEBA = Shape(64, 4, 16, width=256, batch=4)
LARGE = Shape(256, 6, 2, width=64, batch=1)
EMPTY = Shape(16, 3, 8, width=8, batch=4)
SHAPES = {shape.name: shape for shape in (NARROW, DEEP, WIDE, CELEBA, LARGE, EMPTY)}
"""What a processor can do; in the last there is next to nothing to compute."""

PUBLISHED_CIFAR = Shape(32, 3, 32, width=512, batch=64)
PUBLISHED_FACES = Shape(256, 6, 32, width=512, batch=1, coupling="additive")
PUBLISHED = {shape.name: shape for shape in (PUBLISHED_CIFAR, PUBLISHED_FACES)}
"""What the paper trained, CIFAR-10 and CelebA-HQ 256, for a GPU."""


def faces(n: int, size: int, device: torch.device) -> Tensor:
    """``n`` drawn faces, dequantized: (n, 3, size, size) in [-1/2, 1/2), always the same."""
    pixels = [torch.from_numpy(draw_face(sample_factors(0, index), size)) for index in range(n)]
    images = torch.stack(pixels).permute(0, 3, 1, 2).contiguous()
    u = torch.rand(images.shape, generator=torch.Generator().manual_seed(0))
    return dequantize(images, u, n_bits=8).to(device)
