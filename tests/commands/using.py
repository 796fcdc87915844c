"""The commands that use a trained model, called as the command line calls them, but in this process."""

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from hydra import compose, initialize_config_dir
from rich.console import Console

from glow_app.cli import conf_folder
from glow_app.cli.arguments import fill_in_data, with_data_of_model
from glow_app.config.check import check
from glow_app.config.commands import ComputeConfig

U = TypeVar("U", bound=ComputeConfig)


def configure(command: str, schema: type[U], *arguments: str) -> U:
    """The configuration that ``glow-<command> <arguments>`` has."""
    overrides = with_data_of_model(list(arguments))
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        composed = compose(command, overrides=overrides)
    given = {argument.partition("=")[0] for argument in overrides}
    fill_in_data(composed, (composed.get("compare") or [composed.get("checkpoint") or composed.get("run")])[0], given)
    return check(composed, schema)


def use(function: Callable[[Any, Console], None], config: ComputeConfig) -> str:
    """Runs a command, and gives what it says."""
    output = io.StringIO()
    function(config, Console(file=output, width=160))
    return output.getvalue()


@contextmanager
def written_elsewhere(path: Path) -> Iterator[None]:
    """Inside, another process writes samples there."""
    script = (
        "import sys; from pathlib import Path; from glow_app.commands.sample_metadata import written_alone\n"
        "with written_alone(Path(sys.argv[1])): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        yield
        other.communicate(timeout=60)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()
