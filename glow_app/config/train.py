"""The schema of every option: its type, meaning, unit and range. The values are in ``conf/``.

Fields have no defaults: each default is in one YAML file. The options of the data sets are in
:mod:`glow_app.config.data`, those of the models in :mod:`glow_app.config.model`; :mod:`glow_app.config.check` checks a
configuration against the schema.
"""

from dataclasses import dataclass

from glow_app.config.data import DataConfig
from glow_app.config.model import ModelConfig
from glow_app.config.option import option, path_option
from glow_app.config.published import PUBLISHED

AUTO = "auto"
"""Value of ``resume``: resume the newest run of the same name and kind, or start one."""


@dataclass
class OptimConfig:
    """The optimizer and its schedule."""

    name: str = option(
        "adam; muon: orthogonal updates of the networks' kernels, Adam for the rest; adamax as in the released code",
        choices=("adam", "muon", "adamax"),
    )
    lr: float = option("learning rate after warm-up", above=0)
    beta1: float = option("decay of the mean gradient, per step", at_least=0, at_most=0.9999999)
    beta2: float = option("decay of the gradient's size, per step", at_least=0, at_most=0.9999999)
    warmup_images: int = option("images over which the learning rate rises linearly from 0", at_least=0)
    decay: str = option("what the learning rate does after warm-up", choices=("constant", "cosine"))
    clip_norm: float | None = option("largest gradient norm; null: no clipping", above=0)
    ema_decay: float = option("decay of the averaged weights, per step; 0: no averaging", at_least=0, at_most=0.9999999)


@dataclass
class TrainerConfig:
    """Device, precision and batches of training."""

    accelerator: str = option("device", choices=("cpu", "gpu"))
    devices: int | None = option(
        "processes, each with a GPU of its own: CUDA_VISIBLE_DEVICES=0,1 says which; null: one per GPU. torchrun and "
        "srun set their own number",
        at_least=1,
    )
    precision: str = option("precision of the coupling networks; the rest is always float32", choices=("fp32", "bf16"))
    compile: str = option(
        "generate code for training: steps one by one, or all as one", choices=("none", "steps", "full")
    )
    cuda_graph: bool | None = option(
        "on one GPU: capture forward, backward and Adam's update once, then launch each in one call; null: if possible"
    )
    batch_size: int = option("images per batch, divided among all processes", at_least=1)
    accumulate: int = option("batches whose gradients are averaged for one update", at_least=1)
    nonfinite: str = option(
        "if the loss or gradient of an update is not finite: stop the run, or skip the update",
        choices=("stop", "skip"),
    )
    skip_limit: int = option("nonfinite=skip: skipped updates in a row that stop the run", at_least=1)


@dataclass
class LoggerConfig:
    """The destination of metrics, besides metrics.csv in the run's folder."""

    name: str = option("csv: only metrics.csv", choices=("csv", "tensorboard", "wandb"))
    project: str = option("wandb project")
    mode: str = option("wandb: offline keeps everything in the run's folder", choices=("offline", "online"))
    artifacts: bool = option("wandb: upload the exported model when the run has ended")


@dataclass
class PrepareConfig:
    """All options of ``glow-prepare``."""

    data: DataConfig
    splits: list[str] = option("splits of the data set")
    workers: int | None = option("processes that decode; null: one per core", at_least=0)
    verify: bool = option("read the whole cache and compare it with its digest")
    contact_sheet: int = option("images on the contact sheet of each split", at_least=1)
    debug: bool = option("show tracebacks")


@dataclass
class TrainConfig:
    """All options of ``glow-train``."""

    data: DataConfig
    model: ModelConfig
    optim: OptimConfig
    trainer: TrainerConfig
    logger: LoggerConfig
    name: str = option("name of the run, which is written under runs/<name>/")
    seed: int = option("seed of the parameters, the order, the flips and the noise", at_least=0, at_most=2**63 - 1)
    max_steps: int = option("updates of the parameters in the whole run", at_least=1)
    max_seconds: float | None = option(
        "seconds of training, with validations, that set the end and the learning rate; null: max_steps sets them",
        above=0,
    )
    init_images: int | None = option(
        "images for the initialisation; null: 256 at 32x32, (32/size)^2 of that; model=gaussianization: 2048",
        at_least=2,
    )
    validate_every: int = option("steps between two validations", at_least=1)
    patience: int | None = option(
        "validations in a row without a better figure than the best before that end the run; null: none do", at_least=1
    )
    val_images: int = option("validation images used each time; 0: all", at_least=0)
    test_images: int = option("test images for the evaluation at the end; 0: all", at_least=0)
    samples_every: int = option("steps between two sample grids; the last step is always drawn", at_least=1)
    temperatures: list[float] = option("temperatures of the sample grids")
    checkpoint_every: int = option("steps between two checkpoints", at_least=1)
    checkpoint_minutes: float = option("minutes between two checkpoints, regardless of steps", above=0)
    log_every: float = option(
        "seconds between two lines on the progress, where the output is not a terminal and shows no bar", above=0
    )
    published: str | None = option("run of the paper to follow; departures are reported", choices=tuple(PUBLISHED))
    estimate: bool = option("measure 20 steps on made-up images, print how long the run would take, and stop")
    init_from: str | None = path_option(
        "model whose weights training starts from: a run, an exported or shipped model, or hf://owner/name"
    )
    teacher: str | None = path_option(
        "model to distil, as glow-distill does: a run, an exported or shipped model, or hf://owner/name; or points in "
        "the plane, whose density is known, such as u1; null: none"
    )
    anneal_steps: int = option(
        "with a teacher, or model=vae: updates over which the weight of log p rises from 0.01 to 1; 0: it is 1",
        at_least=0,
    )
    report: bool = option("make a page of the run when it has ended, as glow-report does")
    resume: str | None = path_option("folder of a run, or a checkpoint, to resume; auto: the newest run like this one")
    debug: bool = option("show tracebacks")
