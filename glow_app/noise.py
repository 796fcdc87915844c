"""Counter-based noise: every random number is a function of (seed, stream, position of the sample, element).

There is no generator state to save or restore: a resumed run, another number of workers or another division of the
batch among ranks uses the same numbers. The hash is SplitMix64 (Steele, Lea & Flood 2014,
"Fast splittable pseudorandom number generators"), vectorised in int64, whose products wrap modulo 2**64.
"""

import math
from enum import IntEnum

import torch
from torch import Tensor

_GAMMA = -7046029254386353131  # 0x9E3779B97F4A7C15
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


class Stream(IntEnum):
    """The purpose of a random number. Two streams never share numbers."""

    DEQUANTIZE = 1
    ORDER = 2
    FLIP = 3
    CROP = 4
    LATENTS = 5
    SHIFT = 6
    PLACE = 7
    BLUR = 8
    PIXELS = 9
    DIMENSIONS = 10
    MASK = 11
    LANGEVIN = 12
    PROJECTION = 13
    PROBE = 20
    PATH_START = 21
    PATH_TIME = 22
    POSTERIOR = 30
    BINARISE = 31


def _shift_right(bits: Tensor, n: int) -> Tensor:
    # `>>` on int64 copies the sign; the mask makes the shift a logical one.
    return (bits >> n).bitwise_and_((1 << (64 - n)) - 1)


def _mix(bits: Tensor) -> Tensor:
    # In place, which is faster for millions of numbers.
    bits.bitwise_xor_(_shift_right(bits, 30)).mul_(_MIX_1)
    bits.bitwise_xor_(_shift_right(bits, 27)).mul_(_MIX_2)
    return bits.bitwise_xor_(_shift_right(bits, 31))


def random_bits(seed: int, stream: Stream, positions: Tensor, n: int) -> Tensor:
    """Returns 64 random bits for each of ``n`` elements of each sample.

    Args:
        seed: any integer; taken modulo 2**64.
        stream: purpose of the numbers.
        positions: int64 (B,), each sample's position in its endless stream.
        n: elements per sample.

    Returns:
        int64 (B, n) on the device of ``positions``.
    """
    start = (seed + stream * _GAMMA + 2**63) % 2**64 - 2**63  # in Python, whose integers do not wrap by themselves
    key = _mix(torch.full((1,), start, dtype=torch.int64, device=positions.device))
    sample_key = _mix(key ^ _mix(positions.to(torch.int64) * _GAMMA + _GAMMA))
    elements = torch.arange(1, n + 1, dtype=torch.int64, device=positions.device).mul_(_GAMMA)
    return _mix(sample_key[:, None] + elements)


def uniform(seed: int, stream: Stream, positions: Tensor, n: int) -> Tensor:
    """Uniform numbers in (0, 1): the midpoints ``(k + 1/2) / 2**15`` of 32,768 equal intervals.

    With these, ``q + u`` is exact in float32 for every 8-bit ``q``, so ``quantize(dequantize(q, u))`` is always ``q``.
    Finer uniforms would round up to the next bin about once in 100,000 subpixels.

    Returns:
        float32 (B, n).
    """
    k = _shift_right(random_bits(seed, stream, positions, n), 49)
    return (2 * k + 1).to(torch.float32) / 2**16


def fine_uniform(seed: int, stream: Stream, positions: Tensor, n: int) -> Tensor:
    """Uniform numbers in (0, 1), the midpoints of 2**52 equal intervals, if 32,768 are too few: float64 (B, n)."""
    return (_shift_right(random_bits(seed, stream, positions, n), 12).to(torch.float64) + 0.5) / 2**52


def normal(seed: int, stream: Stream, positions: Tensor, n: int) -> Tensor:
    """Standard normal numbers, by Box and Muller's transform, in float64.

    Numbers 2j and 2j + 1 are ``r cos(a)`` and ``r sin(a)``, with ``r = sqrt(-2 ln u)`` and ``a = 2 pi v`` of two 32-bit
    uniforms, the halves of the j-th 64 random bits.

    Returns:
        float64 (B, n).
    """
    bits = random_bits(seed, stream, positions, (n + 1) // 2)
    u = _shift_right(bits, 32).to(torch.float64).add_(0.5).mul_(2.0**-32)
    angle = bits.bitwise_and_(0xFFFFFFFF).to(torch.float64).mul_(2.0**-32 * 2 * math.pi)
    radius = u.log_().mul_(-2).sqrt_()
    pairs = radius.new_empty(*radius.shape, 2)
    torch.mul(radius, angle.cos(), out=pairs[..., 0])
    torch.mul(radius, angle.sin_(), out=pairs[..., 1])
    return pairs.flatten(1)[:, :n]


def logistic(seed: int, stream: Stream, positions: Tensor, n: int) -> Tensor:
    """Numbers of the logistic distribution of scale 1, ``ln(u / (1 - u))`` of a 32-bit uniform, in float64.

    Returns:
        float64 (B, n).
    """
    u = (_shift_right(random_bits(seed, stream, positions, n), 32).to(torch.float64) + 0.5) / 2**32
    return torch.log(u) - torch.log1p(-u)


def permutation(seed: int, stream: Stream, position: int, n: int) -> Tensor:
    """A random order of ``n`` items, a function of (seed, stream, position).

    Returns:
        int64 (n,) on the CPU.
    """
    # A stable sort: the order of equal keys (about n**2 / 2**65 pairs) must not depend on the sorting algorithm.
    return random_bits(seed, stream, torch.tensor([position]), n)[0].argsort(stable=True)
