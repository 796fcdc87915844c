"""In what words and units the figures of a model are told: pixels are discrete, points in the plane are not."""

import math
from dataclasses import dataclass

Bits = int | None
"""Bits per subpixel that a model sees, 1 ... 8; None of points, whose coordinates have no levels."""


@dataclass(frozen=True)
class Unit:
    """The unit of a likelihood, and the words that go with it.

    Attributes:
        things: what the data are.
        grains: what these consist of.
        shape: how large one is; takes C, H, W and ``n_bits``.
        name: of the unit.
        per_bit: how many of it one bit per dimension is.
        meaning: what the figure is, for files that machines read.
        exactly: what a thing is that has come back from its latents.
        error: unit of the errors of what comes back.
    """

    things: str
    grains: str
    shape: str
    name: str
    per_bit: float
    meaning: str
    exactly: str
    error: str

    def shape_of(self, image_shape: tuple[int, int, int], n_bits: Bits) -> str:
        """How large one of the things is, in words."""
        return self.shape.format(*image_shape, n_bits)

    def figure(self, bits: float, digits: int = 4, sign: str = "") -> str:
        """``bits`` per dimension in this unit, as text without its name; ``sign="+"`` for differences."""
        return f"{bits * self.per_bit:{sign}.{digits}f}"


PIXELS_UNIT = Unit(
    things="images",
    grains="pixels",
    shape="{}x{}x{}, {} bits",
    name="bits/dim",
    per_bit=1.0,
    meaning="bits per dimension of discrete images",
    exactly="exactly",
    error="of a grey level, before rounding",
)

POINTS_UNIT = Unit(
    things="points",
    grains="points",
    shape="in the plane",
    name="nats/point",
    per_bit=2 * math.log(2),
    meaning="bits per dimension of a density in the plane: 2 ln 2 nats per point; not those of discrete images",
    exactly="to 0.0001",
    error="in x and y",
)


def unit_of(n_bits: Bits) -> Unit:
    """The unit of models that see so many bits."""
    return POINTS_UNIT if n_bits is None else PIXELS_UNIT


def quantization_bits(n_bits: Bits) -> int:
    """Bits per dimension that levels take up: what a density of points does without."""
    return 0 if n_bits is None else n_bits
