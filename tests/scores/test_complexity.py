"""Sizes of compressed images, and bits per dimension beyond them."""

import pytest
import torch

from glow_app.scores.complexity import CODECS, codec_bits, excess


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("channels", [1, 3])
def test_noise_cannot_be_compressed_and_a_constant_can(codec: str, channels: int) -> None:
    noise = torch.randint(0, 256, (1, channels, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    bits = codec_bits(torch.cat([noise, torch.full_like(noise, 77)]), codec)
    assert bits.dtype == torch.float64
    assert 8 < bits[0] < 8.9  # and headers
    assert bits[1] < 1
    assert bits[0] * noise.numel() / 8 == pytest.approx(round(bits[0].item() * noise.numel() / 8))  # whole bytes


def test_excess() -> None:
    assert excess(torch.tensor([3.0, 1.0]), torch.tensor([4.5, 0.25])).tolist() == [-1.5, 0.75]
