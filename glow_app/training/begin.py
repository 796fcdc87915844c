"""Builds, initialises and wraps the model of a run."""

import dataclasses
import itertools

import torch
from rich.console import Console

from glow_app.artifacts.weights import Exported, load
from glow_app.build import PRECISIONS, open_split
from glow_app.config.models.continuous import CNFConfig
from glow_app.config.train import TrainConfig
from glow_app.data.source import EmptySplit, ImageSource
from glow_app.data.stream import TrainingStream
from glow_app.errors import UserError
from glow_app.flows import CNF, VAE, Flow, initialize
from glow_app.likelihood import dequantization_noise, dequantize
from glow_app.runtime.console import say
from glow_app.training.clock import Clock
from glow_app.training.continuous.module import continuous_module
from glow_app.training.distillation.density import DensityTeacher, starting_points
from glow_app.training.distillation.reflow import Reflow
from glow_app.training.distillation.student import Distillation
from glow_app.training.distillation.teacher import Teacher, TeacherSamples, require_student
from glow_app.training.module import GlowModule
from glow_app.training.trainer import Layout, captures_steps
from glow_app.training.variational.module import VAEModule


def open_sources(
    config: TrainConfig, teacher: Teacher | None, console: Console
) -> tuple[ImageSource, ImageSource | None, ImageSource | None]:
    """Opens the images of training, validation and test; None for a split that the data set does not have.

    A distillation needs no data: samples of the teacher replace training images that are not there.

    Raises:
        UserError: see :func:`glow_app.build.open_split`.
    """
    if isinstance(teacher, Exported) and (folder := config.data.missing) is not None:
        say(console, f"no data in {folder}: samples of the teacher initialise the model; no validation, no test")
        n = config.init_images or config.model.n_initializing(*config.data.size)
        return TeacherSamples(teacher, config.data.name, n, config.seed), None, None
    conditional = config.model.class_conditional

    def open_if_any(split: str) -> ImageSource | None:
        try:
            return open_split(config.data, split, console, conditional)
        except EmptySplit as reason:
            say(console, f"{split}: {reason}")
            return None

    return open_split(config.data, "train", console, conditional), open_if_any("val"), open_if_any("test")


def build_flow(config: TrainConfig, train: ImageSource) -> Flow:
    """Builds a new model for the images of ``train``; its random parts are a function of the seed."""
    # Not earlier: building a cache draws from the same generator.
    torch.manual_seed(config.seed)
    return config.model.build(train.image_shape, len(train.class_names))


def open_start(config: TrainConfig) -> Exported | None:
    """Loads the model that ``init_from`` names; None if training starts from random weights.

    Raises:
        UserError: there is no such model, or its options differ from those of the run.
    """
    if config.init_from is None:
        return None
    start = load(config.init_from)
    for field in dataclasses.fields(config.model):
        theirs, ours = (getattr(model, field.name, None) for model in (start.card.model, config.model))
        if field.name not in config.model.free and theirs != ours:
            raise _differs(config, f"model.{field.name}", theirs, ours)
    return start


def start_from(flow: Flow, start: Exported, config: TrainConfig, train: ImageSource) -> None:
    """Gives ``flow`` the weights of another model, with its ActNorms.

    Raises:
        UserError: its classes differ from those of ``train``, or the images are of another shape and a parameter too.
    """
    classes = train.class_names if config.model.class_conditional else ()
    for number, (theirs, ours) in enumerate(itertools.zip_longest(start.card.class_names, classes)):
        if theirs != ours:
            raise _differs(config, f"class {number}", theirs, ours)
    own, state = flow.state_dict(), start.flow.state_dict()
    for key in sorted(own.keys() | state.keys()):
        theirs, ours = (tuple(of[key].shape) if key in of else None for of in (state, own))
        if theirs != ours:
            raise _differs(config, f"the shape of {key}", theirs, ours)
    flow.load_state_dict(state)


def _differs(config: TrainConfig, what: str, theirs: object, ours: object) -> UserError:
    there, here = ("nothing" if value is None else value for value in (theirs, ours))
    return UserError(f"init_from={config.init_from}: {what} is {there} in that model and {here} in this run")


def initialize_flow(flow: Flow, train: ImageSource, config: TrainConfig, teacher: Teacher | None = None) -> None:
    """Initialises a new model from the first images of the stream, which are the same on all ranks.

    One that learns a density by formula sees no data here either, but points of a wide normal distribution.

    Raises:
        UserError: the images do not vary.
    """
    _, height, width = train.image_shape
    n = min(config.init_images or config.model.n_initializing(height, width), len(train))
    if isinstance(teacher, DensityTeacher):
        initialize(flow, starting_points(n, config.seed))
        return
    batch = TrainingStream(train, config.seed).__getitems__(list(range(n)))
    u = dequantization_noise(batch.images, config.seed, batch.positions)
    try:
        initialize(flow, dequantize(batch.images, u, config.data.n_bits), batch.labels if flow.n_classes else None)
    except ValueError as error:
        raise UserError(f"the model cannot be initialised: {error} (init_images={n})") from error


def make_module(
    flow: Flow, config: TrainConfig, where: Layout, clock: Clock, teacher: Teacher | None = None
) -> GlowModule:
    """Creates the module that trains ``flow`` with the given options, on samples of its own if there is a teacher."""
    options = {
        "n_bits": config.data.n_bits,
        "optim": config.optim,
        "images_per_step": config.trainer.batch_size * config.trainer.accumulate,
        "clock": clock,
        "seed": config.seed,
        "conditioner_dtype": PRECISIONS[config.trainer.precision],
        "cuda_graph": captures_steps(config, where),
    }
    if teacher is None and isinstance(config.model, CNFConfig):
        assert isinstance(flow, CNF)
        return continuous_module(flow, config.model, options)
    if teacher is None and isinstance(flow, VAE):
        return VAEModule(flow, config.anneal_steps, **options)
    if teacher is None:
        return GlowModule(flow, **options)
    known = teacher.flow if isinstance(teacher, Exported) else teacher
    require_student(flow, known, config)
    if isinstance(flow, CNF):
        assert isinstance(known, CNF)  # required above
        return Reflow(flow, known, **options)
    return Distillation(flow, known, config.anneal_steps, **options)
