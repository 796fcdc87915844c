"""Metrics of edits, from the predictions of a judge before and after."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.evaluation.statistics import mean


@dataclass(frozen=True)
class EditFigures:
    """Metrics of the edits of one attribute by one method. A metric is None if no image contributes to it.

    Attributes:
        attribute: its name.
        images: edited images that are finite and have a finite reconstruction.
        not_finite: images left out because one of the two is not finite.
        judged: number of ``images`` on whose reconstruction the judge agrees with the label.
        success: share of ``judged`` on which the edit flips the judge's decision.
        adding: the same among images without the attribute.
        removing: the same among images with it.
        drift: mean over images and other attributes of the absolute change of the judge's probability.
        drifts_most: the other attribute whose probability changes most.
        outside: share of the change, in grey levels, outside of the region where a drawing with the attribute toggled
            differs; mean over images. Drawn faces only, like all that follow.
        outside_area: share of the picture outside of it: what ``outside`` would be for an untargeted change.
        followed: correlation of the amount with the change of the factor that the judge estimates; 1 is best.
        measured: correlation of the projection on the direction with the true factor, over unedited images.
    """

    attribute: str
    images: int
    not_finite: int
    judged: int
    success: float | None
    adding: float | None
    removing: float | None
    drift: float | None
    drifts_most: str | None
    outside: float | None
    outside_area: float | None
    followed: float | None
    measured: float | None


class Flips(NamedTuple):
    """Shares of edits that flip the judge's decision; see :class:`EditFigures`."""

    judged: int
    success: float | None
    adding: float | None
    removing: float | None


def flips(labels: Tensor, before: Tensor, after: Tensor) -> Flips:
    """Computes how often the judge's decision flips, among images that it classified correctly before.

    Args:
        labels: (N,) 0 or 1.
        before: (N,) the judge's log-odds of the reconstruction.
        after: (N,) its log-odds of the edited image.
    """
    has_it = labels.bool()
    right = (before > 0) == has_it
    flipped = ((after > 0) != has_it).double()
    success, adding, removing = (mean(flipped[chosen]) for chosen in (right, right & ~has_it, right & has_it))
    return Flips(int(right.sum()), success, adding, removing)


def drift(before: Tensor, after: Tensor, edited: int) -> Tensor:
    """Mean absolute change of each attribute's probability: float64 (A,), NaN for the edited one.

    Args:
        before: (N, A) probabilities.
        after: likewise.
        edited: column of the attribute that was edited.
    """
    change = (after - before).abs().double().mean(0)
    change[edited] = torch.nan
    return change


def outside(before: Tensor, after: Tensor, regions: Tensor) -> Tensor:
    """Share of the change outside of a region: ``sum_outside |after - before| / sum |after - before|``.

    Args:
        before: uint8 (B, C, H, W).
        after: likewise.
        regions: bool (B, H, W).

    Returns:
        float64 (B,), NaN if nothing changes or the region is empty.
    """
    change = (after.int() - before.int()).abs().sum(1).double()
    share = (change * ~regions).flatten(1).sum(1) / change.flatten(1).sum(1)
    return share.masked_fill(~regions.flatten(1).any(1), torch.nan)
