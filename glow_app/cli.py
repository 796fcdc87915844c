"""What every command shares: compose the configuration, check it, run, and say what went wrong in one line."""

import itertools
import logging
import os
import re
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from yaml import YAMLError

from glow_app.config import PrepareConfig, TrainConfig
from glow_app.config_check import check, did_you_mean
from glow_app.errors import UserError

USER_ERROR, INTERRUPTED = 2, 130

FIXED_IN_A_RUN = ("seed", "name", "optim.name", "trainer.batch_size", "trainer.accumulate", "init_images")
"""Options, besides those of model and data, with which a resumed run would not be the same run."""

MOVABLE = ("data.root", "data.workers", "data.cache", "data.cache_folder", "data.on_corrupt")
"""Options of the data that say where the images are, and not which."""


def conf_folder() -> Path:
    """The configuration files: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    shipped = package / "conf"
    return shipped if shipped.is_dir() else package.parent / "conf"


def prepare() -> None:
    """``glow-prepare``: decodes a data set into the cache and shows its data card."""
    _run("prepare", _prepare)


def train() -> None:
    """``glow-train``: trains a Glow."""
    _run("train", _train)


def _prepare(composed: DictConfig) -> None:
    config = check(composed, PrepareConfig)
    from glow_app.prepare import prepare

    prepare(config, Console())


def _train(composed: DictConfig) -> None:
    checkpoint: Path | None = None
    if composed.resume is None:
        config = check(composed, TrainConfig)
        run_folder = _new_run_folder(config.name)
    else:
        run_folder, checkpoint = _find_run(str(composed.resume))
        config = check(_resumed(composed, run_folder), TrainConfig)
    # Imported only now: a mistake on the command line is told without waiting for torch.
    from glow_app.training.run import fit

    # Lightning sets its loggers to INFO when it is imported, and speaks of much that is no news here.
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fit(config, run_folder, checkpoint, Console())


def _new_run_folder(name: str) -> Path:
    hydra_config = HydraConfig.get()
    if hydra_config.mode is RunMode.MULTIRUN:
        return Path(hydra_config.runtime.output_dir)
    first = Path("runs", name, f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    numbered = (first.with_name(f"{first.name}_{number}") for number in itertools.count(2))
    return next(folder for folder in itertools.chain([first], numbered) if not folder.exists())


def _find_run(resume: str) -> tuple[Path, Path]:
    from glow_app.training.checkpoint import find_run

    return find_run(resume)


def _resumed(composed: DictConfig, run_folder: Path) -> DictConfig:
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


def _run(config_name: str, task: Callable[[DictConfig], None]) -> None:
    """Hydra's main function, with its exceptions turned into one line and an exit status."""
    # Otherwise Hydra prints exceptions itself, its own way, and exits with status 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    debug = any(argument.lower() == "debug=true" for argument in sys.argv[1:])
    status = 0

    def job(composed: DictConfig) -> None:
        # Caught inside of the job: outside, Hydra has already said something about it.
        nonlocal status
        try:
            task(composed)
        except UserError as error:
            if debug:
                raise
            status = _say(error)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    try:
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()
    except (HydraException, OmegaConfBaseException) as error:
        if debug:
            raise
        status = _say(error)
    sys.exit(status)


def _say(error: Exception) -> int:
    print(f"error: {_one_line(error)}", file=sys.stderr)
    return USER_ERROR


def _one_line(error: Exception) -> str:
    text = str(error)
    cause = error.__cause__
    if unknown := re.search(r"Key '([^']+)' is not in struct\s+full_key: (\S+)", f"{text}\n{cause}"):
        return f"unknown key {unknown[2]}{did_you_mean(unknown[2], _known_keys())}"
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return f"unknown key {unknown[1]}{did_you_mean(unknown[1], _known_keys())}"
    if missing := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        choices = sorted(path.stem for path in (conf_folder() / missing[1]).glob("*.yaml"))
        near = did_you_mean(missing[2], choices)
        return f"{missing[1]}={missing[2]} is not one of {', '.join(choices)}{near}"
    return " ".join(re.sub(r"See https://\S+ for details", "", text).split())


def _known_keys() -> list[str]:
    """Every key that a command line may set, and the names of the groups."""
    keys: list[str] = []
    for path in sorted(conf_folder().rglob("*.yaml")):
        group = path.relative_to(conf_folder()).parent.as_posix()
        content = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(content, dict)
        if group == "experiment":
            continue
        prefix = "" if group == "." else f"{group}."
        keys += [f"{prefix}{key}" for key in content if key not in ("defaults", "hydra")]
        keys += [] if group == "." else [group]
    return keys
