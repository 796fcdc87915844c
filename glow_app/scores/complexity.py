"""Sizes of losslessly compressed images, and likelihoods without what these explain (input complexity).

A simple image has few bits under almost any model of natural images, whatever the model was trained on. The size of
its compressed file is a second, universal code length, and the difference of the two no longer rewards simplicity
(Serra et al. 2020, "Input complexity and out-of-distribution detection with likelihood-based generative models").
"""

import io
from typing import Any

import torch
from PIL import Image
from torch import Tensor

CODECS: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    # Method 6 takes about 20 times as long, and its files are not smaller by more than 1 in 300.
    "WebP": {"format": "WEBP", "lossless": True, "method": 4, "quality": 100},
}
"""Lossless codecs, with their settings."""


def codec_bits(images: Tensor, codec: str) -> Tensor:
    """Sizes of the encoded files, headers included, in bits per subpixel: ``8 bytes / D``.

    Args:
        images: uint8 (B, C, H, W), C being 1 or 3.
        codec: ``PNG`` or ``WebP`` (lossless), with its settings in ``CODECS``.

    Returns:
        float64 (B,).
    """
    sizes = [_n_bytes(image, codec) for image in images.cpu()]
    return 8 * torch.tensor(sizes, dtype=torch.float64) / images[0].numel()


def _n_bytes(image: Tensor, codec: str) -> int:
    pixels = image.permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(file, **CODECS[codec])
    return file.tell()


def excess(bits_per_dim: Tensor, complexity: Tensor) -> Tensor:
    """``S(x) = (-log2 p(x) - L(x)) / D``: bits per dimension beyond those of a codec, (B,).

    Serra et al. 2020, eq. 2. L(x) is the size of the compressed image in bits, which approximates its Kolmogorov
    complexity; S is then a log-ratio of the model to a universal one. Large values are unlike the training images.
    """
    return bits_per_dim - complexity
