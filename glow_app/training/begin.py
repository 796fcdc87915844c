"""Builds, initialises and wraps the model of a run."""

import torch

from glow_app.build import PRECISIONS
from glow_app.config.train import TrainConfig
from glow_app.data.source import ImageSource
from glow_app.data.stream import TrainingStream
from glow_app.errors import UserError
from glow_app.flows import Flow, initialize
from glow_app.likelihood import dequantization_noise, dequantize
from glow_app.training.clock import Clock
from glow_app.training.module import GlowModule
from glow_app.training.trainer import Layout, captures_steps


def build_flow(config: TrainConfig, train: ImageSource) -> Flow:
    """Builds a new model for the images of ``train``; its random parts are a function of the seed."""
    # Not earlier: building a cache draws from the same generator.
    torch.manual_seed(config.seed)
    return config.model.build(train.image_shape, len(train.class_names))


def initialize_flow(flow: Flow, train: ImageSource, config: TrainConfig) -> None:
    """Initialises a new model from the first images of the stream, which are the same on all ranks.

    Raises:
        UserError: the images do not vary.
    """
    _, height, width = train.image_shape
    published = min(256, max(4, round(256 * 32 * 32 / (height * width))))
    n = min(config.init_images or published, len(train))
    batch = TrainingStream(train, config.seed).__getitems__(list(range(n)))
    u = dequantization_noise(batch.images, config.seed, batch.positions)
    try:
        initialize(flow, dequantize(batch.images, u, config.data.n_bits), batch.labels if flow.n_classes else None)
    except ValueError as error:
        raise UserError(f"the model cannot be initialised: {error} (init_images={n})") from error


def make_module(flow: Flow, config: TrainConfig, where: Layout, clock: Clock) -> GlowModule:
    """Creates the module that trains ``flow`` with the given options."""
    return GlowModule(
        flow,
        n_bits=config.data.n_bits,
        optim=config.optim,
        images_per_step=config.trainer.batch_size * config.trainer.accumulate,
        clock=clock,
        seed=config.seed,
        conditioner_dtype=PRECISIONS[config.trainer.precision],
        cuda_graph=captures_steps(config, where),
    )
