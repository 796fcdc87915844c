"""The figures by which edits are compared, from what a judge said before and after."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.evaluation.statistics import mean


@dataclass(frozen=True)
class EditFigures:
    """What the edits of one attribute by one method did. A figure is None where there is nothing to take it from.

    Attributes:
        attribute: its name.
        images: edited images that are finite, and whose reconstruction is.
        not_finite: images that are left out because one of the two is not.
        judged: images, of these, whose reconstruction the judge takes for what the label says.
        success: share of ``judged`` on which the edit has turned the judge's decision.
        adding: the same among those that had the attribute not.
        removing: the same among those that had it.
        drift: mean over images and other attributes of the absolute change of the judge's probability.
        drifts_most: the other attribute whose probability changes most.
        outside: how much of the change, in grey levels, is outside of the region where a drawing with the attribute
            toggled differs; mean over images. Drawn faces only, like all that follow.
        outside_area: how much of the picture is outside: what a change without aim would give.
        followed: correlation of the amount with the change of the factor that the judge sees; 1 is best.
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
    """How often an edit turns the judge's decision; see :class:`EditFigures`."""

    judged: int
    success: float | None
    adding: float | None
    removing: float | None


def flips(labels: Tensor, before: Tensor, after: Tensor) -> Flips:
    """How often the judge's decision turns, among images of whose label it was right before.

    Args:
        labels: (N,) 0 or 1.
        before: (N,) the judge's log-odds of the reconstruction.
        after: (N,) those of the edited image.
    """
    has_it = labels.bool()
    right = (before > 0) == has_it
    turned = ((after > 0) != has_it).double()
    success, adding, removing = (mean(turned[chosen]) for chosen in (right, right & ~has_it, right & has_it))
    return Flips(int(right.sum()), success, adding, removing)


def drift(before: Tensor, after: Tensor, edited: int) -> Tensor:
    """Mean absolute change of each attribute's probability: float64 (A,), not a number for the edited one.

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
        float64 (B,), not a number where nothing changes or the region is empty.
    """
    change = (after.int() - before.int()).abs().sum(1).double()
    share = (change * ~regions).flatten(1).sum(1) / change.flatten(1).sum(1)
    return share.masked_fill(~regions.flatten(1).any(1), torch.nan)
