"""The options of the paper's runs, and how a configuration differs from them."""

from dataclasses import dataclass
from typing import Any

MODEL = {
    "model.width": 512,
    "model.permutation": "full",
    "model.scale": "sigmoid",
    "model.border": True,
    "model.class_conditional": False,
}
TRAINING = {
    "optim.name": "adamax",
    "optim.lr": 1e-3,
    "optim.beta1": 0.9,
    "optim.decay": "constant",
    "optim.clip_norm": None,
    "optim.ema_decay": 0.0,
    "trainer.precision": "fp32",
    "data.validation": 0,
}
"""The paper evaluates raw weights, and trains on every training image."""

EPOCH = 50_000
"""Images in an epoch at 32x32, whatever the data. Warm-up takes ten epochs; beta2 is 1 - 1 / (steps in an epoch)."""

PER_GPU = 64
"""Images per update and GPU at 32x32. At other sizes a batch has as many pixels as these, rounded down to images."""


@dataclass(frozen=True)
class Published:
    """One run of the paper.

    Attributes:
        result: its published result.
        images_per_update: images per update over all devices.
        options: path of an option -> its value.
    """

    result: str
    images_per_update: int
    options: dict[str, Any]


def _run(
    result: str, data: str, size: int, n_bits: int, shape: tuple[int, int, str], gpus: int, **of_data: Any
) -> Published:
    n_levels, n_steps, coupling = shape
    batch = gpus * (PER_GPU * 32**2 // size**2)
    options = {
        "data.name": data,
        "data.image_size": size,
        "data.n_bits": n_bits,
        "data.flip": False,
        **{f"data.{key}": value for key, value in of_data.items()},
        "model.n_levels": n_levels,
        "model.n_steps": n_steps,
        "model.coupling": coupling,
        **MODEL,
        **TRAINING,
        "optim.warmup_images": 10 * EPOCH * batch // (gpus * PER_GPU),
        "optim.beta2": round(1 - 1 / -(-EPOCH // (gpus * PER_GPU)), 4),
    }
    return Published(result, batch, options)


_LSUN64 = {"shape": (4, 48, "affine"), "gpus": 8, "crop": "random"}
_LSUN_PICTURES = {"shape": (5, 64, "additive"), "gpus": 40, "crop": "centre"}

PUBLISHED: dict[str, Published] = {
    "cifar10": _run("3.35 bits/dim", "cifar10", 32, 8, (3, 32, "affine"), 8, shift=0.1),
    "imagenet32": _run("4.09 bits/dim", "imagenet32", 32, 8, (3, 48, "affine"), 8, distribution="older"),
    "imagenet64": _run("3.81 bits/dim", "imagenet64", 64, 8, (4, 48, "affine"), 8, distribution="older"),
    "lsun_bedroom": _run("2.38 bits/dim", "lsun", 64, 8, category="bedroom", **_LSUN64),
    "lsun_tower": _run("2.46 bits/dim", "lsun", 64, 8, category="tower", **_LSUN64),
    "lsun_church_outdoor": _run("2.67 bits/dim", "lsun", 64, 8, category="church_outdoor", **_LSUN64),
    "lsun_bedroom96": _run("pictures", "lsun", 96, 5, category="bedroom", **_LSUN_PICTURES),
    "lsun_bedroom128": _run("pictures", "lsun", 128, 5, category="bedroom", **_LSUN_PICTURES),
    "celebahq256": _run("1.03 bits/dim", "celeba_hq", 256, 5, (6, 32, "additive"), 40, partition="published"),
}
"""The paper's runs, by their names in ``published=``. How many images they saw is not known.

Where the table of the paper and the commands of the released code differ, the table counts: L of LSUN 64 is 4, there 3.
What the paper leaves open is that of the released code: the 1x1 convolution is a full matrix (``LU`` is a switch in
its source, which is off), and batch, warm-up and beta2 are what its formulas give on 8 or 40 GPUs.
"""


def departures(config: Any) -> list[str]:
    """Lists how a run differs from the published one that it names: ``key=value (published: value)``. Empty if none.

    Args:
        config: a :class:`glow_app.config.train.TrainConfig`.
    """
    if config.published is None:
        return []
    run = PUBLISHED[config.published]
    found = [(key, _value(config, key), value) for key, value in run.options.items()]
    found.append(("images per update", config.trainer.batch_size * config.trainer.accumulate, run.images_per_update))
    return [f"{key}={_text(ours)} (published: {_text(value)})" for key, ours, value in found if ours != value]


def _value(config: Any, key: str) -> Any:
    group, name = key.split(".")
    return getattr(getattr(config, group), name, None)


def _text(value: Any) -> str:
    return "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
