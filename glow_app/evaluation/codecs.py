"""Lossless image codecs as baselines: bits per dimension without any training."""

import io
from typing import Any

from PIL import Image
from torch import Tensor

CODECS: dict[str, dict[str, Any]] = {
    "PNG": {"format": "PNG", "optimize": True},
    "WebP": {"format": "WEBP", "lossless": True, "method": 6, "quality": 100},
}


def codec_bits_per_dim(images: Tensor, codec: str) -> float:
    """Mean size of the encoded files, headers included, in bits per subpixel.

    Args:
        images: uint8 (N, C, H, W), C being 1 or 3.
        codec: ``PNG`` or ``WebP`` (lossless), each at its strongest setting.
    """
    n_bytes = 0
    for image in images:
        pixels = image.permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0]).save(file, **CODECS[codec])
        n_bytes += len(file.getvalue())
    return 8 * n_bytes / images.numel()
