"""The card of the model that a run exports."""

import dataclasses
import math
from collections.abc import Mapping

from glow_app.artifacts.card import Card
from glow_app.config.train import TrainConfig
from glow_app.data.source import ImageSource
from glow_app.training.checkpoints.run_folder import published_path, versions


def card_of(
    config: TrainConfig,
    sources: Mapping[str, ImageSource | None],
    step: int,
    reached: Mapping[str, float],
    seconds: float,
    hardware: str,
) -> Card:
    """Returns the card of the model at a step.

    Args:
        config: all options.
        sources: split -> its images, if there are any.
        step: number of updates so far.
        reached: metrics, such as ``test/bits_per_dim``; for each split among them the number of images is added.
        seconds: seconds of training so far.
        hardware: what it is trained on.
    """
    train, metrics = sources["train"], dict(reached)
    assert train is not None
    for split, most in (("val", config.val_images), ("test", config.test_images)):
        n_images = len(sources[split] or ())
        if f"{split}/bits_per_dim" in metrics:
            metrics[f"{split}/images"] = min(most or n_images, n_images)
    return Card(
        model=config.model,
        image_shape=train.image_shape,
        n_bits=config.data.n_bits,
        class_names=train.class_names if config.model.class_conditional else (),
        data=dataclasses.asdict(config.data),
        preprocessing=train.preprocessing,
        step=step,
        weights="averaged" if config.optim.ema_decay else "raw",
        metrics={key: value for key, value in metrics.items() if math.isfinite(value)},
        versions=versions(),
        eyes=_eyes(config, train),
        init_from=None if config.init_from is None else published_path(config.init_from),
        teacher=None if config.teacher is None else published_path(config.teacher),
        seconds=round(seconds, 1),
        hardware=hardware,
    )


def _eyes(config: TrainConfig, train: ImageSource) -> tuple[float, float, float, float] | None:
    given = getattr(config.data, "eyes", None)
    if given is None:
        return train.eyes
    x1, y1, x2, y2 = given
    return x1, y1, x2, y2
