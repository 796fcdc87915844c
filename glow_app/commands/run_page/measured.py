"""Sections that are measured with the model: by what the other commands measure and draw."""

from glow_app.commands.common import directions_folder, open_labelled_split_of
from glow_app.commands.directions import find
from glow_app.commands.edit import edit
from glow_app.commands.quality import measure_quality
from glow_app.commands.reports.evaluation import conditioning_facts, decomposition, inverse_facts, likelihood_facts
from glow_app.commands.reports.neighbours import N_NEIGHBOURS, show_neighbours
from glow_app.commands.reports.quality import rows as quality_rows
from glow_app.commands.run_page import markup
from glow_app.commands.run_page.recorder import Recorder
from glow_app.commands.run_page.subject import Subject
from glow_app.commands.sample import sample
from glow_app.commands.score import score
from glow_app.config.commands import EvaluateConfig, QualityConfig, SampleConfig, ScoreConfig
from glow_app.config.editing import DirectionsConfig, EditConfig
from glow_app.errors import UserError
from glow_app.evaluation.judge import BATCH
from glow_app.latents.directions import load as load_directions
from glow_app.latents.strength import shown_first
from glow_app.scores.controls import CONTROLS

IN_ROW, COMPARED = 10, 16
"""Samples at each temperature, and samples whose nearest training images are shown."""

LIKELY = 0.7
"""Temperature of the samples that are compared."""

EDITED, SWEPT, LEARNED_FROM = 3, 4, 2000
"""Images that are edited, attributes that are shown, and training images that find directions."""


def temperatures(subject: Subject) -> str:
    """Samples of the same latents at several temperatures."""
    model, said = subject.image_model, Recorder()
    at = sorted(dict.fromkeys(subject.config.temperatures))
    if not at:
        raise UserError("temperatures has no value")
    sample(subject.options(SampleConfig, "sample", n=IN_ROW, temperature=at, output=subject.place("sample")), said)
    classes = "; classes in turn" if model.flow.n_classes else ""
    caption = f"Samples at temperature {', '.join(f'{one:g}' for one in at)}, seed {subject.config.seed}{classes}."
    return "".join(markup.picture(path, caption) for path in said.pictures)


def bits(subject: Subject) -> str:
    """Bits per dimension of held-out images, and where they are, by level and kind of layer."""
    reached, source = subject.evaluation, subject.held_out
    facts = likelihood_facts(reached, subject.unit, subject.evaluation_options)
    of = f"{len(subject.indices):,} {subject.unit.things} of {source.name} {source.split}: {source.preprocessing}."
    return markup.paragraph(of) + markup.facts(facts) + markup.table(decomposition(reached.likelihood))


def reconstruction(subject: Subject) -> str:
    """The share of held-out images that are reconstructed exactly."""
    return markup.facts(inverse_facts(subject.evaluation, subject.unit))


def conditioning(subject: Subject) -> str:
    """The 1x1 convolutions, or the solver of a continuous flow: what inverses depend on."""
    reached = subject.evaluation
    facts = conditioning_facts(reached, subject.model, subject.unit)
    if not facts:
        raise UserError("this flow has neither 1x1 convolutions nor a solver")
    cells = [(one.name, f"{one.condition:.3g}", f"{one.round_trip:.1g}") for one in reached.convolutions]
    heading = ("1x1 convolution", "condition", "|W^-1 W - I|")
    return markup.facts(facts) + (
        markup.folded(f"all {len(cells)} convolutions", markup.rows(heading, cells)) if cells else ""
    )


def neighbours(subject: Subject) -> str:
    """Samples beside the nearest training images."""
    model, said, path = subject.image_model, Recorder(), subject.output / "neighbours.png"
    images = model.sample(COMPARED, temperature=LIKELY, seed=subject.config.seed)
    show_neighbours(subject.options(SampleConfig, "sample"), model, images, range(COMPARED), path, said)
    caption = f"Samples at temperature {LIKELY:g}, each beside its {N_NEIGHBOURS} nearest training images."
    return "".join(map(markup.paragraph, said.lines)) + markup.picture(path, caption)


def edits(subject: Subject) -> str:
    """Images with more and less of some attributes."""
    model, source, said = subject.image_model, subject.held_out, Recorder()
    if source.attributes is None:
        raise UserError(f"data={source.name} has no attributes")
    directions = directions_folder(None, model)
    if not _are_of(str(directions), model.digest):
        directions = subject.output / "directions"
        if not _are_of(str(directions), model.digest):
            _find(subject)
    chosen = load_directions(directions).names
    options = subject.options(
        EditConfig, "edit", directions=str(directions), split=source.split, sweep=shown_first(chosen)[:SWEPT], zoom=1,
        images=[str(number) for number in range(min(EDITED, len(source)))], output=subject.place("edit"),
    )  # fmt: skip
    edit(options, said)
    caption = f"{', '.join(shown_first(chosen)[:SWEPT])}, less and more, of an image of {source.name} {source.split}."
    return "".join(map(markup.paragraph, said.lines)) + "".join(markup.picture(one, caption) for one in said.pictures)


def _are_of(directions: str, digest: str) -> bool:
    try:
        load_directions(directions).require(digest)
    except UserError:
        return False
    return True


def _find(subject: Subject) -> None:
    """Finds directions for the page alone: from fewer images than those of ``glow-directions``."""
    examples = subject.config.examples
    options = subject.options(
        DirectionsConfig, "directions", n_images=LEARNED_FROM, output=subject.place("directions"),
        calibration=examples if examples >= BATCH else 0,
    )  # fmt: skip
    train = open_labelled_split_of(subject.model, options.data, "train", Recorder())
    find(subject.model, train, options, Recorder())


def quality(subject: Subject) -> str:
    """Distances of samples from real images, by the features of a classifier trained for that."""
    model, source = subject.image_model, subject.held_out
    if subject.config.examples < BATCH:
        raise UserError(f"examples={subject.config.examples} trains no classifier")
    asked = QualityConfig(True, None, LIKELY, subject.config.examples, None)
    options = subject.options(EvaluateConfig, "evaluate", split=source.split, quality=asked)
    found = measure_quality(model, source, subject.indices, options, subject.output, subject.console)
    how = (
        f"Sets of {found.images:,} images against as many of {source.name} {source.split}, by the features of "
        f"{found.features}."
    )
    only = " Local figures compare only with those of the very same classifier." if found.local else ""
    return markup.paragraph(how + only) + markup.table(quality_rows(found))


def scores(subject: Subject) -> str:
    """Scores of held-out images, the images of both ends, and how well noise and constants are told from them."""
    model, source, said = subject.image_model, subject.held_out, Recorder()
    options = subject.options(
        ScoreConfig, "score", split=source.split, n_images=subject.config.n_images, draws=1, codecs=["PNG"],
        against=None if model.flow.n_classes else list(CONTROLS), output=subject.place("score"),
    )  # fmt: skip
    score(options, said)
    captions = {"ends.png": "The images with the fewest bits per dimension, above those with the most."}
    pictures = (markup.picture(one, captions.get(one.name, "All scores of all sets.")) for one in said.pictures)
    return "".join(map(markup.table, said.tables)) + "".join(pictures)
