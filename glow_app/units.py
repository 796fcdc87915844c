"""Units and words for the metrics of a model: pixels are discrete, points in the plane are not."""

import math
from dataclasses import dataclass

Bits = int | None
"""Bits per subpixel that a model sees, 1 ... 8; None for points, whose coordinates have no grey levels."""


@dataclass(frozen=True)
class Unit:
    """The unit of a likelihood, and the words that go with it.

    Attributes:
        things: word for the data.
        grains: word for their elements.
        shape: format of a size, with C, H, W and ``n_bits``.
        name: name of the unit.
        per_bit: units per bit per dimension.
        meaning: description of the metric, for files that machines read.
        exactly: accuracy of a reconstruction, in words.
        error: unit of reconstruction errors.
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
        """The size of an image or point, in words."""
        return self.shape.format(*image_shape, n_bits)

    def figure(self, bits: float, digits: int = 4, sign: str = "") -> str:
        """``bits`` per dimension in this unit, as text without its name; ``sign="+"`` for differences."""
        return f"{bits * self.per_bit:{sign}.{digits}f}"

    def with_error(self, bits: float, error: float, digits: int = 4, sign: str = "") -> str:
        """``bits ± error`` per dimension in this unit, as text without its name; see :func:`with_error`."""
        return with_error(bits * self.per_bit, error * self.per_bit, digits, sign)


def with_error(value: float, error: float, digits: int = 4, sign: str = "") -> str:
    """``value ± error`` as text; without an error that is not finite, as that of one image is not."""
    text = f"{value:{sign}.{digits}f}"
    return f"{text} ± {error:.{digits}f}" if math.isfinite(error) else text


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
    """The unit of models that see ``n_bits``."""
    return POINTS_UNIT if n_bits is None else PIXELS_UNIT


def quantization_bits(n_bits: Bits) -> int:
    """Bits per dimension of the quantization; 0 for points."""
    return 0 if n_bits is None else n_bits


def duration(seconds: float) -> str:
    """A time in words, in seconds, minutes, or hours, and days where these are many."""
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} minutes"
    hours = seconds / 3600
    return f"{hours:,.1f} hours" if hours < 48 else f"{hours:,.0f} hours ({hours / 24:,.1f} days)"
