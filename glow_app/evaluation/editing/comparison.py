"""Compares ways to edit at equal success, with controls: other directions, and the pixels alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from glow_app.data.alignment import Eyes
from glow_app.data.source import ImageSource
from glow_app.evaluation.editing.curves import Point, at_success, curve, group
from glow_app.evaluation.editing.editors import Editor, Encoded
from glow_app.evaluation.editing.recognition import distance, embed, pairs_of
from glow_app.evaluation.editing.telling import told_apart
from glow_app.evaluation.edits import decode
from glow_app.evaluation.judge import Judge
from glow_app.evaluation.likelihood import batches
from glow_app.model import Model
from glow_app.runtime.console import Progress

TOLD = 256
"""Most images behind :attr:`Compared.told` and :attr:`Compared.moved`: a network learns for each way."""

FEWEST = 4
"""Fewest of these images: there are two halves, each with edited ones."""

NONE = "none"
"""Name of the way that changes nothing: images are encoded and decoded."""


@dataclass(frozen=True)
class Compared:
    """The success of ways to edit, and its cost.

    Attributes:
        curves: way -> attribute -> points, by amount.
        success: the success at which they are compared.
        equal: way -> attribute -> the point of that success; None if it is not reached.
        told: way, and ``none`` -> how often a network tells edited images from real ones; chance is 1/2.
        moved: way, and ``none`` -> mean distance, to a network that recognises persons, of an image and its edit; None
            without that network.
        persons: the mean distance of two pictures of one person, and of two persons; None where it is not known.
        images: images behind ``told`` and ``moved``.
    """

    curves: dict[str, dict[str, list[Point]]]
    success: float
    equal: dict[str, dict[str, Point | None]]
    told: dict[str, float]
    moved: dict[str, float] | None
    persons: tuple[float, float] | None
    images: int


def compare(
    model: Model,
    judge: Judge,
    ways: Mapping[str, Editor],
    source: ImageSource,
    indices: range,
    names: Sequence[str],
    *,
    amounts: Sequence[float],
    success: float,
    curve_images: int,
    seed: int,
    batch_size: int,
    eyes: Eyes | None,
    progress: Progress = lambda done, total: None,
) -> Compared | None:
    """Measures every way's curves, and at equal success how often its edits are told from real images.

    Attributes that the judge sees rightly in no image are left out.

    Args:
        model: the model that edits, and whose bits/dim are compared.
        judge: judge of the attributes of ``source``.
        ways: name -> editor.
        source: labelled images.
        indices: indices of the images to edit.
        names: attributes to edit.
        amounts: amounts of the curves, ascending.
        success: the success at which ways are compared.
        curve_images: images of each curve.
        seed: seed of everything drawn.
        batch_size: images edited at once.
        eyes: where the eyes are, if persons are to be recognised; None: they are not.
        progress: called with (steps done, total).

    Returns:
        the comparison; None if no attribute is left, or fewer than ``FEWEST`` images stay finite under all edits.
    """
    total = len(names) * len(ways) + 2 * (len(ways) + 1)
    curves: dict[str, dict[str, list[Point]]] = {way: {} for way in ways}
    done = 0
    for name in names:
        images = group(model, judge, source, indices, name, curve_images, seed)
        if images is None:
            continue
        for way, editor in ways.items():
            curves[way][name] = curve(model, judge, editor, images, amounts, seed)
            done += 1
            progress(done, total)
    names = [name for name in names if all(name in of for of in curves.values())]
    if not names:
        return None
    equal = {way: {name: at_success(points, success) for name, points in of.items()} for way, of in curves.items()}
    used = {way: {name: _amount(equal[way][name], curves[way][name]) for name in names} for way in ways}
    kept, real, edited = _edited(model, ways, used, source, indices[:TOLD], names, seed, batch_size)
    if len(real) < FEWEST:
        return None
    told, moved = {}, {}
    before = None if eyes is None else embed(real, eyes)
    for way, images in edited.items():
        told[way] = told_apart(real, images, seed, model.device)
        if eyes is not None and before is not None:
            moved[way] = distance(before, embed(images, eyes))
        done += 2
        progress(done, total)
    persons = None if before is None else _persons(source, kept, before)
    return Compared(curves, success, equal, told, moved or None, persons, len(real))


def _amount(equal: Point | None, points: Sequence[Point]) -> float:
    """The amount of equal success, or that of most success."""
    return max(points, key=lambda point: point.success).amount if equal is None else equal.amount


@torch.no_grad()
def _edited(
    model: Model,
    ways: Mapping[str, Editor],
    amounts: Mapping[str, Mapping[str, float]],
    source: ImageSource,
    indices: range,
    names: Sequence[str],
    seed: int,
    batch_size: int,
) -> tuple[list[int], Tensor, dict[str, Tensor]]:
    """Edits each image in one attribute, in turn: indices, real images, and way -> edited ones, uint8 on the CPU.

    Images of which some edit is not finite are left out.
    """
    assert source.attributes is not None, "labels tell the classes apart"
    found_at: list[int] = []
    real: list[Tensor] = []
    found: dict[str, list[Tensor]] = {way: [] for way in (NONE, *ways)}
    for batch in batches(model.flow, source, indices, seed, batch_size):
        positions = batch.positions.cpu()
        latents = model.encode(batch.images, batch.labels)
        reconstructed, kept = decode(model, latents, batch.labels)
        turn = positions % len(names)
        edited = {NONE: reconstructed, **{way: reconstructed.clone() for way in ways}}
        for row, name in enumerate(names):
            mine = (turn == row).to(model.device)
            if not mine.any():
                continue
            labels = None if batch.labels is None else batch.labels[mine]
            encoded = Encoded(batch.images[mine], [z[mine] for z in latents], labels)
            has = source.attributes[positions[turn == row], source.attribute_names.index(name)].double()
            for way, editor in ways.items():
                images, finite = editor(encoded, name, (1 - 2 * has).to(model.device) * amounts[way][name])
                edited[way][mine] = images
                kept[mine] &= finite
        found_at += positions[kept.cpu()].tolist()
        real.append(batch.images[kept].cpu())
        for way, images in edited.items():
            found[way].append(images[kept].cpu())
    return found_at, torch.cat(real), {way: torch.cat(parts) for way, parts in found.items()}


def _persons(source: ImageSource, indices: Sequence[int], embedded: Tensor) -> tuple[float, float] | None:
    """Mean distances of pictures of one person, and of two persons; None if persons or such pairs are not known."""
    if source.identities is None:
        return None
    same, two = pairs_of(source.identities[indices].tolist())
    if not same or not two:
        return None
    first, second = (distance(*(embedded[list(side)] for side in zip(*pairs, strict=True))) for pairs in (same, two))
    return first, second
