"""The configuration of a run that goes on: its own, changed by what the command line may change."""

from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError

from glow_app.errors import UserError

FIXED_IN_A_RUN = ("seed", "name", "optim.name", "trainer.batch_size", "trainer.accumulate", "init_images")
"""Options, besides those of model and data, with which a resumed run would not be the same run."""

MOVABLE = ("data.root", "data.workers", "data.cache", "data.cache_folder", "data.on_corrupt")
"""Options of the data that say where the images are, and not which."""


GROUPS = ("model", "optim", "trainer", "logger")
"""Groups whose options are the same whichever file is chosen."""


def resumed(composed: DictConfig, run_folder: Path) -> DictConfig:
    """The configuration of the run, changed by what the command line says besides ``resume``."""
    path = run_folder / "config.yaml"
    if not path.exists():
        raise UserError(f"resume={composed.resume}: {path} is missing, so this is not the folder of a run")
    try:
        saved = OmegaConf.load(path)
    except (OSError, YAMLError) as error:
        raise UserError(f"{path} cannot be read ({' '.join(str(error).split())}); repair it to resume") from error
    if not isinstance(saved, DictConfig):
        raise UserError(f"{path} is not the configuration of a run; repair it to resume")
    for group in GROUPS:
        # Options that are newer than the run have their defaults.
        saved[group] = OmegaConf.merge(OmegaConf.create(OmegaConf.to_container(composed[group])), saved.get(group, {}))
    overrides = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    for override in overrides:
        key = override.key_or_group
        if key == "resume":
            continue
        if key == "experiment" or isinstance(saved.get(key), DictConfig):
            raise UserError(
                f"{key}={override.value()} cannot be chosen again: the run has its own; leave it out, or "
                f"change single values such as optim.lr=5e-4"
            )
        if key in FIXED_IN_A_RUN or key.startswith("model.") or (key.startswith("data.") and key not in MOVABLE):
            raise UserError(f"{key} cannot change in a resumed run, which began with another; leave it out")
        OmegaConf.update(saved, key, OmegaConf.select(composed, key))
    return saved
