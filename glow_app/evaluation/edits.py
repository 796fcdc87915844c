"""Measures the effects of edits along attribute vectors, with a judge.

Images with an attribute are edited by minus the amount, images without it by plus the amount. The edited image is
compared with the reconstruction (the image encoded and decoded), so that what the model cannot represent is not
mistaken for an effect of the edit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from glow_app.data.faces.counterfactual import FACTOR_OF, drawn, region
from glow_app.data.source import ImageSource
from glow_app.evaluation.effects import EditFigures, drift, flips, outside
from glow_app.evaluation.judge import Judge, Verdict
from glow_app.evaluation.likelihood import batches
from glow_app.evaluation.statistics import correlation, mean
from glow_app.latents.directions import Directions
from glow_app.likelihood import quantize, seen
from glow_app.model import Model

SWEEP = (-1.0, -0.5, 0.5, 1.0)
"""Fractions of the amount, besides 0, at which the judge estimates the true factor."""

SWEEP_IMAGES = 100
"""Images on which it does so: each costs one decoding per fraction, attribute and method."""


@dataclass(frozen=True)
class Measured:
    """All measurements of edits.

    Attributes:
        edits: method -> metrics of each attribute.
        unedited: the judge's verdict on the original images.
        exact: share of the images whose reconstruction (amount 0) is the image itself.
        largest_error: largest error of a finite reconstruction, in grey levels of 256; None if none is finite.
        not_finite: reconstructions that are not finite; they count as not exact.
    """

    edits: dict[str, list[EditFigures]]
    unedited: Verdict
    exact: float
    largest_error: int | None
    not_finite: int


@dataclass
class _Gathered:
    """Raw results of one attribute and method, with a row per image, except ``amounts`` and ``changes``."""

    before: list[Tensor] = field(default_factory=list)  # logits of all attributes
    after: list[Tensor] = field(default_factory=list)
    finite: list[Tensor] = field(default_factory=list)
    outside: list[Tensor] = field(default_factory=list)  # NaN if no region is known
    area: list[Tensor] = field(default_factory=list)
    projections: list[Tensor] = field(default_factory=list)
    amounts: list[Tensor] = field(default_factory=list)
    changes: list[Tensor] = field(default_factory=list)  # change of the estimated factor, at ``amounts``


@torch.no_grad()
def measure(
    model: Model,
    judge: Judge,
    methods: Sequence[Directions],
    source: ImageSource,
    indices: range,
    names: Sequence[str],
    amount: float,
    batch_size: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Measured:
    """Edits images along every direction and evaluates the judge on them.

    Args:
        model: the model that edits.
        judge: judge of the attributes of ``source``.
        methods: directions to compare.
        source: source of the images, with attributes.
        indices: indices of the images.
        names: attributes to edit, which the directions and the source have.
        amount: amount of every edit.
        batch_size: images per batch.
        progress: called with (images done, total).
    """
    assert source.attributes is not None, "only labelled images can be edited both ways"
    gathered = {(one.method, name): _Gathered() for one in methods for name in names}
    verdicts: list[Verdict] = []
    errors: list[Tensor] = []
    reconstructed_finite: list[Tensor] = []
    for batch in batches(model.flow, source, indices, 0, batch_size, progress=progress):
        images, positions = batch.images, batch.positions.cpu()
        latents = model.encode(images, batch.labels)
        reconstructed, finite = decode(model, latents, batch.labels)
        verdicts.append(judge(images))
        before = judge(reconstructed).logits.cpu()
        errors.append((reconstructed.int() - seen(images, model.n_bits).int()).abs().flatten(1).amax(1))
        reconstructed_finite.append(finite)
        followed = int((positions < indices.start + SWEEP_IMAGES).sum())
        regions = {name: _regions(source, images.cpu(), positions, name) for name in names}
        for one in methods:
            projections = one.measure(latents)
            for name in names:
                notes = gathered[one.method, name]
                row = one.column(name)
                labels = source.attributes[positions, source.attribute_names.index(name)].to(model.device)
                moved = one.edit(latents, {name: amount * (1 - 2 * labels.double())})
                edited, edited_finite = decode(model, moved, batch.labels)
                notes.before.append(before)
                notes.after.append(judge(edited).logits.cpu())
                notes.finite.append((finite & edited_finite).cpu())
                notes.projections.append(projections[:, row])
                expected = regions[name]
                if expected is not None:
                    notes.outside.append(outside(reconstructed.cpu(), edited.cpu(), expected))
                    notes.area.append((~expected).flatten(1).double().mean(1))
                if followed and name in FACTOR_OF and FACTOR_OF[name][0] in judge.factors:
                    _follow(notes, model, judge, one, name, amount, [z[:followed] for z in latents], batch.labels)
    labels = source.attributes[list(indices)]
    edits = {
        one.method: [_metrics(name, gathered[one.method, name], judge, labels, source, indices) for name in names]
        for one in methods
    }
    error, finite = torch.cat(errors).cpu(), torch.cat(reconstructed_finite).cpu()
    return Measured(
        edits=edits,
        unedited=Verdict(*(torch.cat(parts).cpu() for parts in zip(*verdicts, strict=True))),
        exact=((error == 0) & finite).double().mean().item(),
        largest_error=int(error[finite].max()) if finite.any() else None,
        not_finite=int((~finite).sum()),
    )


def decode(model: Model, latents: Sequence[Tensor], labels: Tensor | None) -> tuple[Tensor, Tensor]:
    """Decodes latents; images that are not finite become grey.

    Unlike :meth:`glow_app.model.Model.decode`, it does not raise for these, so that they can be counted.

    Returns:
        images, uint8 (B, C, H, W), and whether each is finite, bool (B,).
    """
    x = model.inverse(latents, labels)
    finite = torch.isfinite(x).flatten(1).all(1)
    return quantize(torch.where(finite[:, None, None, None], x, 0.0), model.n_bits), finite


def _regions(source: ImageSource, images: Tensor, positions: Tensor, name: str) -> Tensor | None:
    """The regions where drawn faces should change, bool (B, H, W); all False for a face whose region is unknown."""
    faces = drawn(source)
    if faces is None:
        return None
    found = [region(image, faces.face(i), name) for image, i in zip(images, positions.tolist(), strict=True)]
    nowhere = torch.zeros(images.shape[2:], dtype=torch.bool)
    return torch.stack([nowhere if one is None else one for one in found])


def _follow(
    notes: _Gathered,
    model: Model,
    judge: Judge,
    one: Directions,
    name: str,
    amount: float,
    latents: Sequence[Tensor],
    labels: Tensor | None,
) -> None:
    """Saves the judge's estimates of the attribute's factor as the amount grows from minus to plus."""
    factor, sign = FACTOR_OF[name]
    column = judge.factors.index(factor)
    n = len(latents[0])
    labels = None if labels is None else labels[:n]
    reconstructed, start_finite = decode(model, latents, labels)
    start = judge(reconstructed).factors[:, column]
    notes.amounts.append(torch.zeros(int(start_finite.sum())))
    notes.changes.append(torch.zeros(int(start_finite.sum())))
    for share in SWEEP:
        edited, finite = decode(model, one.edit(latents, {name: share * amount}), labels)
        change = sign * (judge(edited).factors[:, column] - start)[finite & start_finite]
        notes.amounts.append(torch.full((len(change),), share))
        notes.changes.append(change.cpu())


def _metrics(
    name: str, notes: _Gathered, judge: Judge, attributes: Tensor, source: ImageSource, indices: range
) -> EditFigures:
    column = judge.attributes.index(name)
    finite = torch.cat(notes.finite)
    before, after = (torch.cat(part)[finite] for part in (notes.before, notes.after))
    flipped = flips(attributes[finite, column], before[:, column], after[:, column])
    drifts = drift(before.sigmoid(), after.sigmoid(), column)
    shares = torch.cat(notes.outside)[finite] if notes.outside else torch.empty(0)
    known = ~shares.isnan()
    areas = torch.cat(notes.area)[finite] if notes.area else torch.empty(0)
    return EditFigures(
        attribute=name,
        images=len(before),
        not_finite=int((~finite).sum()),
        judged=flipped.judged,
        success=flipped.success,
        adding=flipped.adding,
        removing=flipped.removing,
        drift=mean(drifts),
        drifts_most=None if drifts.isnan().all() else judge.attributes[int(drifts.nan_to_num(-1).argmax())],
        outside=mean(shares),
        outside_area=mean(areas[known]),
        followed=correlation(torch.cat(notes.amounts), torch.cat(notes.changes)) if notes.changes else None,
        measured=_measured(name, torch.cat(notes.projections), source, indices),
    )


def _measured(name: str, projections: Tensor, source: ImageSource, indices: range) -> float | None:
    faces = drawn(source)
    if faces is None or name not in FACTOR_OF:
        return None
    factor, sign = FACTOR_OF[name]
    return correlation(projections, sign * faces.factors[list(indices), faces.factor_names.index(factor)])
