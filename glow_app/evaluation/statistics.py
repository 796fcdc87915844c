"""Statistics that more than one measurement needs."""

from torch import Tensor


def correlation(x: Tensor, y: Tensor) -> float | None:
    """Pearson's correlation of two rows of numbers; None where one of them does not vary, or there are fewer than two.

    In float64.
    """
    if len(x) < 2:
        return None
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    scale = (x.norm() * y.norm()).item()
    return (x @ y).item() / scale if scale > 0 else None


def mean(values: Tensor) -> float | None:
    """Of the values that are numbers; None if there are none."""
    kept = values[~values.isnan()]
    return kept.mean().item() if len(kept) else None
