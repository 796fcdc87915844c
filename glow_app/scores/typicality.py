"""Typicality: the distance of bits per dimension from their mean over training images, of an image or of a group.

High-dimensional samples do not lie where the density is highest, but where -log p is near its mean, the entropy. An
image with far fewer bits than any training image is therefore no more like them than one with far more (Nalisnick et
al. 2019, "Detecting out-of-distribution inputs to deep generative models using typicality").
"""

from torch import Tensor


def typicality(bits_per_dim: Tensor, mean: float) -> Tensor:
    """``|-log p(x) / (D ln 2) - H|``: distance in bits per dimension from the training images' mean H, (B,)."""
    return (bits_per_dim - mean).abs()


def group_typicality(bits_per_dim: Tensor, mean: float, size: int) -> Tensor:
    """``|mean over a group - H|`` of groups of ``size`` images: the test statistic of Nalisnick et al. 2019, eq. 3.

    Image i of N is in group ``i mod (N // size)``, as a data set may be sorted by class; the last ``N mod size`` are
    left out.

    Args:
        bits_per_dim: (N,).
        mean: H, the mean over training images.
        size: images in a group.

    Returns:
        (N // size,).
    """
    n = len(bits_per_dim) // size
    return typicality(bits_per_dim[: n * size].view(size, n).mean(0), mean)
