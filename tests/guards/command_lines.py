"""Commands as documents write them, and what their options compose to."""

import re
import shlex
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from glow_app.cli import conf_folder
from glow_app.cli.arguments import with_brackets, with_data_of_model, with_experiment_of_teacher, with_switch
from glow_app.cli.pages import PAGES
from glow_app.config.check import list_options

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"```sh\n(.*?)```", re.DOTALL)


def commands(text: str) -> list[str]:
    """Every line of the blocks of shell in a document, with continued lines joined; without comments."""
    blocks = BLOCK.findall(text)
    lines = [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def composed(line: str) -> tuple[DictConfig, type]:
    """What ``glow-... key=value ...`` composes to, and the schema that it has to fit."""
    command, *arguments = shlex.split(line, comments=True)
    name = command.removeprefix("glow-")
    if name == "distill":
        arguments = with_experiment_of_teacher(with_data_of_model(arguments))
    overrides = with_switch(with_brackets(arguments, list_options(PAGES[name].schema)), "quality", "measure")
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose(name, overrides=overrides), PAGES[name].schema
