"""The configuration of a resumed run: its own, with the changes that the command line may make."""

import dataclasses
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from glow_app.config.check import PATHS, SCHEMAS, check
from glow_app.config.paths import as_path
from glow_app.config.saved import flat, read_config
from glow_app.config.train import TrainConfig
from glow_app.errors import UserError

FIXED_IN_A_RUN = (
    "seed", "name", "optim.name", "trainer.batch_size", "trainer.accumulate", "init_images", "init_from", "teacher",
    "anneal_steps",
)  # fmt: skip
"""Options, besides those of model and data, that a resumed run cannot change."""

MOVABLE = ("data.workers", "data.cache", "data.on_corrupt", "data.eyes", *(k for k in PATHS if k.startswith("data.")))
"""Options of the data that say where the images are, or what is known of them, and not which they are."""

DECIDING = (*FIXED_IN_A_RUN, "model", "data", "optim", "trainer.precision")
"""Options and groups that decide what a run computes. Two runs are alike if they differ only in ``MOVABLE`` ones.

The length of training is not among them.
"""


def read_options(path: Path, composed: DictConfig) -> DictConfig:
    """Reads the options of a run; options newer than the run have their current defaults.

    Args:
        path: its config.yaml.
        composed: all options, as Hydra composed them.
    """
    saved = read_config(path)
    for key, default in composed.items():
        own = saved.setdefault(key, default)
        if not (isinstance(default, DictConfig) and isinstance(own, DictConfig)):
            continue
        # Defaults of another model or data set do not apply.
        if key not in ("model", "data") or own.get("name") == default.get("name"):
            saved[key] = OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(default)), own)
    return saved


def resumed(composed: DictConfig, run_folder: Path) -> DictConfig:
    """The configuration of the run, changed by the command line's options other than ``resume``."""
    if not composed.resume or not run_folder.is_dir():
        raise UserError(
            f"resume={as_path(composed.resume)}: this run does not exist; give the folder of a run, or a file "
            "checkpoints/step_*.ckpt"
        )
    path = run_folder / "config.yaml"
    if not path.exists():
        raise UserError(f"resume={as_path(composed.resume)}: {path} is missing, so this is not the folder of a run")
    saved = read_options(path, composed)
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    for override in overrides:
        key = override.key_or_group
        if key == "resume" or (key in SCHEMAS and override.value() == OmegaConf.select(saved, f"{key}.name")):
            continue
        if key == "experiment" or isinstance(saved.get(key), DictConfig):
            raise UserError(
                f"{key}={override.value()} cannot be chosen again: the run has its own; leave it out, or "
                f"change single values such as optim.lr=5e-4"
            )
        if key in FIXED_IN_A_RUN or key.startswith("model.") or (key.startswith("data.") and key not in MOVABLE):
            raise UserError(f"{key} cannot change in a resumed run, which began with another value; leave it out")
        OmegaConf.update(saved, key, OmegaConf.select(composed, key))
    return saved


def runs_like(config: TrainConfig, composed: DictConfig, folders: Iterable[Path]) -> list[Path]:
    """The runs in ``folders`` that compute the same as ``config``, newest first.

    Args:
        config: the requested configuration.
        composed: the same, as Hydra composed it.
        folders: run folders; the newest has the last name.
    """
    alike = []
    for folder in sorted(folders, reverse=True):
        path = folder / "config.yaml"
        if path.is_file():
            with suppress(UserError):  # not a run, or one of another version
                saved = check(read_options(path, composed), TrainConfig)
                if _deciding(saved) == _deciding(config):
                    alike.append(folder)
    return alike


def require_like(config: TrainConfig, run_folder: Path) -> None:
    """Raises a UserError, with the first option that differs, unless a run computes the same as ``config``."""
    wanted, own = _deciding(config), flat(read_config(run_folder / "config.yaml"))
    for key, value in wanted.items():
        if key in own and own[key] != value:
            raise UserError(f"{run_folder} is another run, with {key}={own[key]}, not {value}: choose another output")


def _deciding(config: TrainConfig) -> dict[str, object]:
    return {
        key: value
        for key, value in flat(dataclasses.asdict(config)).items()
        if key not in MOVABLE and (key in DECIDING or key.split(".")[0] in DECIDING)
    }
