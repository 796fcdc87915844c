"""Lossless image codecs as baselines: bits per dimension without any training."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder, evenly_spaced
from glow_app.likelihood import seen
from glow_app.runtime.console import Progress
from glow_app.scores.complexity import CODECS, codec_bits
from glow_app.units import Bits

SETTINGS = {"PNG": "optimized", "WebP": "method 4"}
"""Names of ``CODECS`` in reports, with their settings."""

CODEC_IMAGES = 200
"""Largest number of images that are encoded: a minute at 256x256, seconds at 64x64."""


@dataclass(frozen=True)
class CodecSizes:
    """Sizes of losslessly encoded images.

    Attributes:
        bits_per_dim: mean size of each codec's files in bits per subpixel.
        images: number of images that were encoded.
        of: number of images from which these were chosen, evenly spaced.
    """

    bits_per_dim: dict[str, float]
    images: int
    of: int

    @property
    def sizes(self) -> str:
        """The sizes and settings, in words."""
        return "   ".join(f"{codec} {bits:.3f} ({SETTINGS[codec]})" for codec, bits in self.bits_per_dim.items())

    @property
    def which(self) -> str:
        """The images, in words."""
        if self.images == self.of:
            return "the same pixels"
        return f"{self.images:,} of the same {self.of:,} images, evenly spaced"


def measure_codecs(
    source: ImageSource,
    indices: Sequence[int],
    n_bits: Bits,
    seed: int,
    progress: Progress = lambda done, total: None,
) -> CodecSizes:
    """Encodes up to ``CODEC_IMAGES`` of the images ``indices`` of a source with every codec.

    Args:
        source: the images.
        indices: indices of the images to choose from.
        n_bits: bits per subpixel that are encoded.
        seed: seed of the crops of a ``RandomCropSource``.
        progress: called after each image.
    """
    chosen = evenly_spaced(indices, CODEC_IMAGES)
    sums = dict.fromkeys(CODECS, 0.0)
    for done, index in enumerate(chosen, 1):
        images = seen(InOrder(source, seed)[index].images, n_bits)
        for codec in CODECS:
            sums[codec] += codec_bits_per_dim(images, codec)
        progress(done, len(chosen))
    return CodecSizes({codec: bits / len(chosen) for codec, bits in sums.items()}, len(chosen), len(indices))


def codec_bits_per_dim(images: Tensor, codec: str) -> float:
    """Mean size of the encoded files, headers included, in bits per subpixel.

    Args:
        images: uint8 (N, C, H, W), C being 1 or 3.
        codec: ``PNG`` or ``WebP`` (lossless), with its settings in ``CODECS``.
    """
    return codec_bits(images, codec).mean().item()
