"""Statistics shared by several measurements."""

from torch import Tensor


def correlation(x: Tensor, y: Tensor) -> float | None:
    """Computes Pearson's correlation in float64; None if an input is constant or has fewer than two values."""
    if len(x) < 2:
        return None
    x, y = x.double() - x.double().mean(), y.double() - y.double().mean()
    scale = (x.norm() * y.norm()).item()
    return (x @ y).item() / scale if scale > 0 else None


def mean(values: Tensor) -> float | None:
    """The mean of the values that are not NaN; None if there are none."""
    kept = values[~values.isnan()]
    return kept.mean().item() if len(kept) else None
