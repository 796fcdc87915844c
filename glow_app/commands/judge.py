"""``glow-judge``: measures edits with a classifier trained for that."""

import dataclasses
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from glow_app.commands.common import (
    directions_folder,
    images_between,
    open_labelled_split_of,
    open_model,
    output_folder,
)
from glow_app.commands.reports import judge as report
from glow_app.commands.reports.judge import Judgement
from glow_app.config.check import check_choice
from glow_app.config.commands import METHODS
from glow_app.config.editing import JudgeConfig
from glow_app.data.faces.counterfactual import FACTOR_OF, drawn
from glow_app.data.formats.tables import attribute_column
from glow_app.data.landmarks import is_installed
from glow_app.data.sets.two_folders import TwoFolders
from glow_app.data.source import ImageSource, fingerprint_digest
from glow_app.errors import UserError
from glow_app.evaluation import judge as judges
from glow_app.evaluation.disjoint import Part, require_disjoint
from glow_app.evaluation.editing.comparison import Compared, compare
from glow_app.evaluation.editing.editors import (
    Editor,
    along,
    exchanged_directions,
    in_pixels,
    pixel_differences,
    random_directions,
)
from glow_app.evaluation.edits import Measured, measure
from glow_app.evaluation.judge import Judge, Lessons
from glow_app.latents.directions import Directions, load
from glow_app.latents.strength import shown_first
from glow_app.model import Model
from glow_app.runtime import distributed
from glow_app.runtime.console import counting, say

AMOUNTS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
"""Amounts of the curves, as multiples of ``amount``."""


def judge(config: JudgeConfig, console: Console) -> None:
    """Trains the judge, measures the edits, prints tables, and writes ``judge.json`` and ``flips.png``.

    Raises:
        UserError: the model, directions, data or attributes are missing, or images would serve two purposes.
    """
    distributed.require_one("glow-judge")
    for name in config.methods:
        check_choice("methods", name, METHODS)
    if not config.methods:
        raise UserError(f"methods has no value: choose among {', '.join(METHODS)}")
    model = open_model(config)
    methods = [load(directions_folder(config.directions, model), name) for name in dict.fromkeys(config.methods)]
    for one in methods:
        one.require(model.digest)
    judge_source, edit_source = (
        open_labelled_split_of(model, config.data, split, console) for split in (config.judge_split, config.edit_split)
    )
    names = _attributes(config, methods[0], edit_source)
    shown = _curve_attributes(config, names) if config.curve_images else []
    learned = images_between(judge_source, "judge_first", config.judge_first, config.judge_images)
    edited = images_between(edit_source, "edit_first", config.edit_first, config.n_images)
    parts = [
        _part("the judge's images", "judge_split, judge_first or judge_images", config, judge_source, learned),
        _part("the edited images", "edit_split, edit_first or n_images", config, edit_source, edited),
    ]
    folders = _two_folders(methods[0])
    require_disjoint(parts if folders else [*parts, _part_of_directions(methods[0])])
    _require_apart(folders, config)
    if len(learned) < judges.BATCH:
        raise UserError(
            f"the judge would learn from {len(learned)} images of {judge_source.name} {judge_source.split}: it needs "
            f"at least {judges.BATCH}; choose judge_split, judge_first and judge_images accordingly"
        )
    folder = output_folder(config, model, "judge")
    lessons = _lessons(judge_source, learned)
    with counting(console, "the judge learns") as progress:
        trained = judges.train(lessons, config.judge_examples, config.seed, model.device, progress, judges.shuffled)
    with counting(console, f"editing {edit_source.name} {edit_source.split}") as progress:
        how = (names, config.amount, config.batch_size, progress)
        measured = measure(model, trained, methods, edit_source, edited, *how)
    compared = _compare(model, trained, methods, judge_source, learned, edit_source, edited, shown, config, console)
    reached = Judgement(
        model,
        methods,
        learned,
        judge_source,
        edited,
        edit_source,
        judges.reliability(trained.attributes, _labels(edit_source)[list(edited)], measured.unedited.logits),
        _factor_correlations(trained, measured, edit_source, edited),
        measured,
        compared,
    )
    report.tables(reached, config, console)
    report.write(reached, config, folder)
    report.look_at(reached, folder, console)


def _curve_attributes(config: JudgeConfig, names: list[str]) -> list[str]:
    """Returns the attributes with curves, as the data set spells them."""
    if config.curve_attributes is None:
        return shown_first(names)
    if not config.curve_attributes:
        raise UserError("curve_attributes names none: leave it out, name some, or compare nothing by curve_images=0")
    return list(dict.fromkeys(names[attribute_column(names, name)] for name in config.curve_attributes))


def _compare(
    model: Model,
    trained: Judge,
    methods: list[Directions],
    judge_source: ImageSource,
    learned: range,
    edit_source: ImageSource,
    edited: range,
    shown: list[str],
    config: JudgeConfig,
    console: Console,
) -> Compared | None:
    """Compares the methods and controls at equal success; None if that is not asked for, or no attribute has both."""
    if not config.curve_images:
        return None
    parts = [
        _labels(source)[part.start : part.stop] for source, part in ((judge_source, learned), (edit_source, edited))
    ]
    chosen = [
        name
        for name in shown
        if all(0 < part[:, edit_source.attribute_names.index(name)].sum() < len(part) for part in parts)
    ]
    if not chosen:
        return None
    first = methods[0]
    gains = first.gains[[first.column(name) for name in chosen]]
    pixels = _learned_from(first, model, config, console) or (judge_source, learned)
    differences = pixel_differences(*pixels, chosen, config.batch_size)
    ways: dict[str, Editor] = {one.method: along(model, one) for one in methods}
    ways["random"] = along(model, random_directions(first, config.seed))
    if len(first.names) > 1:
        ways["another's"] = along(model, exchanged_directions(first))
    ways["pixels"] = in_pixels(model, chosen, differences, gains)
    eyes = model.card.eyes or edit_source.eyes
    if eyes is not None and not is_installed():
        say(console, "persons are not recognised: pip install 'glow_app[align]' adds how far edits change who it is")
        eyes = None
    with counting(console, "edits at equal success") as progress:
        return compare(
            model, trained, ways, edit_source, edited, chosen,
            amounts=[config.amount * part for part in AMOUNTS], success=config.success,
            curve_images=config.curve_images, seed=config.seed, batch_size=config.batch_size,
            eyes=None if eyes is None else (eyes[0], eyes[1], eyes[2], eyes[3]), progress=progress,
        )  # fmt: skip


def _learned_from(
    directions: Directions, model: Model, config: JudgeConfig, console: Console
) -> tuple[ImageSource, range] | None:
    """Opens the images that directions were made from, so that no control has fewer; None if the data are others."""
    if _two_folders(directions):
        return None
    metadata = directions.metadata
    source = open_labelled_split_of(model, config.data, metadata["split"], console)
    if fingerprint_digest(source) != metadata["fingerprint"]:
        return None
    return source, images_between(source, "first", metadata["first"], metadata["images"])


def _labels(source: ImageSource) -> torch.Tensor:
    if source.attributes is None:
        raise UserError(f"data={source.name} has no attributes to judge: choose data that has them")
    return source.attributes


def _attributes(config: JudgeConfig, directions: Directions, source: ImageSource) -> list[str]:
    """Returns the attributes to edit, as the data set spells them."""
    _labels(source)
    known = [name for name in source.attribute_names if name in directions.names]
    if not known:
        raise UserError(
            f"data={source.name} has none of the attributes of these directions ({', '.join(directions.names)}): "
            "choose the data that they were made from"
        )
    wanted = known if config.attributes is None else config.attributes
    if not wanted:
        raise UserError("attributes names none: leave it out to edit all, or name some")
    return list(dict.fromkeys(known[attribute_column(known, name)] for name in wanted))


def _part(what: str, options: str, config: JudgeConfig, source: ImageSource, images: range) -> Part:
    data = dataclasses.asdict(config.data)
    return Part(what, options, data, source.split, images.start, len(images), fingerprint_digest(source))


def _two_folders(directions: Directions) -> list[Path]:
    """The folders of pictures that directions were made from; none if they were made from a data set."""
    data = directions.metadata.get("data", {})
    return [Path(data["positive"]), Path(data["negative"])] if data.get("name") == TwoFolders.name else []


def _require_apart(folders: list[Path], config: JudgeConfig) -> None:
    """Raises a UserError if pictures of the directions can be among those of the data set."""
    root = getattr(config.data, "root", None)
    if root is None:
        return
    for folder in folders:
        one, other = folder.resolve(), Path(root).resolve()
        if one.is_relative_to(other) or other.is_relative_to(one):
            raise UserError(
                f"these directions were made from the pictures in {folder}, and data.root={root} may share some: "
                "choose other data, or make directions with data.attributes, a table, in place of two folders"
            )


def _part_of_directions(directions: Directions) -> Part:
    metadata: dict[str, Any] = directions.metadata
    missing = [key for key in ("data", "split", "first", "images", "fingerprint") if key not in metadata]
    if missing:
        raise UserError(
            f"these directions do not name the images they were made from (no {', '.join(missing)}), so overlap with "
            "the judge's images cannot be excluded: make them again with glow-directions"
        )
    return Part(
        "the images of the directions",
        "first or n_images of glow-directions",
        metadata["data"],
        metadata["split"],
        metadata["first"],
        metadata["images"],
        metadata["fingerprint"],
    )


def _lessons(source: ImageSource, images: range) -> Lessons:
    """Returns the judge's training set: attributes and, for drawn faces, the factors that decide them."""
    faces = drawn(source)
    if faces is None:
        return Lessons(source, images.start, len(images), (), torch.empty(len(source), 0))
    names = tuple(dict.fromkeys(factor for factor, _ in FACTOR_OF.values()))
    columns = [faces.factor_names.index(name) for name in names]
    return Lessons(source, images.start, len(images), names, faces.factors[:, columns])


def _factor_correlations(
    trained: Judge, measured: Measured, source: ImageSource, edited: range
) -> dict[str, float | None]:
    faces = drawn(source)
    if faces is None:
        return {}
    columns = [faces.factor_names.index(name) for name in trained.factors]
    truth = faces.factors[list(edited)][:, columns]
    return judges.factor_correlations(trained.factors, truth, measured.unedited.factors)
