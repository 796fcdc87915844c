"""Curves of what an edit achieves and costs, over the amount.

Methods whose amounts mean different things are compared where their edits succeed equally often.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from glow_app.data.source import ImageSource
from glow_app.data.stream import InOrder
from glow_app.evaluation.editing.editors import Editor, Encoded
from glow_app.evaluation.edits import decode
from glow_app.evaluation.effects import drift, flips
from glow_app.evaluation.judge import Judge
from glow_app.evaluation.statistics import mean
from glow_app.model import Model


class Point(NamedTuple):
    """Edits by one amount.

    Attributes:
        amount: of the edits: added to images without the attribute, subtracted from images with it.
        success: share of edits that flip the judge's decision, of images judged rightly before; the mean of both ways.
            A broken one does not succeed.
        drift: mean change of the judge's probabilities of the other attributes.
        rise: median bits/dim of edited images under the model, minus those of the same images before.
        broken: share of edited images that are not finite, or whose bits/dim rise by more than ``BREAKS``; the figures
            before are of the others.
    """

    amount: float
    success: float
    drift: float
    rise: float
    broken: float


BREAKS = 1.0
"""Bits/dim: an edit that raises them by more has left the images that the model knows; some rise without bound."""


class Group(NamedTuple):
    """Images on which the edits of one attribute are measured: half of them have it.

    Attributes:
        name: the attribute.
        encoded: images and latents, of those that the judge sees rightly after reconstruction.
        has: int64 (B,) 1 for images with the attribute.
        logits: float32 (B, A), the judge's log-odds of the reconstructions.
        bits: float64 (B,), bits/dim of the reconstructions under the model.
    """

    name: str
    encoded: Encoded
    has: Tensor
    logits: Tensor
    bits: Tensor


@torch.no_grad()
def group(
    model: Model, judge: Judge, source: ImageSource, indices: range, name: str, n: int, seed: int
) -> Group | None:
    """Chooses up to ``n / 2`` images with an attribute and as many without, evenly spaced, and encodes them.

    None if the judge sees none of them rightly.

    Args:
        model: the model that edits.
        judge: judge of the attributes of ``source``.
        source: labelled images.
        indices: indices of the images to choose from.
        name: the attribute.
        n: images.
        seed: seed of the dequantization noise.
    """
    assert source.attributes is not None, "labels tell the classes apart"
    column = source.attributes[indices.start : indices.stop, source.attribute_names.index(name)].bool()
    chosen = sorted(
        indices[int(i)]
        for found in (column.nonzero().flatten(), (~column).nonzero().flatten())
        for i in found[torch.linspace(0, len(found) - 1, min(n // 2, len(found))).long()]
    )
    batch = InOrder(source, seed).__getitems__(chosen)
    images = batch.images.to(model.device)
    labels = batch.labels.to(model.device) if model.flow.n_classes and batch.labels is not None else None
    latents = model.encode(images, labels)
    reconstructed, finite = decode(model, latents, labels)
    logits = judge(reconstructed).logits.cpu()
    has = source.attributes[chosen, source.attribute_names.index(name)].long()
    right = ((logits[:, judge.attributes.index(name)] > 0) == has.bool()) & finite.cpu()
    if not right.any():
        return None
    kept = right.to(model.device)
    encoded = Encoded(images[kept], [z[kept] for z in latents], None if labels is None else labels[kept])
    bits = model.bits_per_dim(reconstructed[kept], encoded.labels, seed).double().cpu()
    return Group(name, encoded, has[right], logits[right], bits)


@torch.no_grad()
def curve(
    model: Model, judge: Judge, editor: Editor, images: Group, amounts: Sequence[float], seed: int
) -> list[Point]:
    """Measures edits at each of the amounts.

    Args:
        model: the model whose bits/dim are compared.
        judge: judge of the attributes.
        editor: makes the edits.
        images: what is edited.
        amounts: above 0.
        seed: seed of the dequantization noise.
    """
    column = judge.attributes.index(images.name)
    signs = 1 - 2 * images.has.double().to(model.device)
    before = images.logits
    found: list[Point] = []
    for amount in amounts:
        edited, finite = editor(images.encoded, images.name, amount * signs)
        after = judge(edited).logits.cpu()
        rises = model.bits_per_dim(edited, images.encoded.labels, seed).double().cpu() - images.bits
        whole = finite.cpu() & (rises <= BREAKS)
        stuck = torch.where(whole, after[:, column], before[:, column])
        counted = flips(images.has, before[:, column], stuck)
        drifts = drift(before[whole].sigmoid(), after[whole].sigmoid(), column)
        found.append(
            Point(
                amount,
                _mean_of(counted.adding, counted.removing),
                mean(drifts) or 0.0,
                rises[whole].median().item() if whole.any() else 0.0,
                1 - whole.double().mean().item(),
            )
        )
    return found


def _mean_of(*shares: float | None) -> float:
    known = [share for share in shares if share is not None]
    return sum(known) / len(known) if known else float("nan")


def at_success(points: Sequence[Point], success: float) -> Point | None:
    """Interpolates a curve linearly at the smallest amount that reaches a success; None if none does.

    The curve begins at amount 0, where nothing succeeds and nothing changes.
    """
    for low, high in pairwise([Point(0.0, 0.0, 0.0, 0.0, 0.0), *points]):
        if low.success < success <= high.success:
            part = (success - low.success) / (high.success - low.success)
            amount, _, drifted, rise, broken = (a + part * (b - a) for a, b in zip(low, high, strict=True))
            return Point(amount, success, drifted, rise, broken)
    return None
