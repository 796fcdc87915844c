"""Shared by all commands: composes the configuration, runs, and reports an error in one line."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from glow_app.artifacts import shipped
from glow_app.cli import help as pages
from glow_app.cli.arguments import literal_paths
from glow_app.cli.foreign import check_flags, check_foreign_files, foreign_folders
from glow_app.cli.mistakes import one_line
from glow_app.errors import UserError
from glow_app.runtime.console import encode_everything
from glow_app.runtime.rank import rank_info
from glow_app.training.checkpoints.run_folder import versions

USER_ERROR, INTERRUPTED = 2, 130

PATIENCE = 15.0
"""Seconds that a rank other than 0 waits before it prints an error."""


def conf_folder() -> Path:
    """The folder of the configuration files."""
    return shipped.folder("conf")


def run(
    config_name: str,
    task: Callable[[DictConfig], None],
    prepare: Callable[[list[str]], list[str]] = lambda arguments: arguments,
    conclude: Callable[[], None] = lambda: None,
) -> None:
    """Runs Hydra's main function, and turns its exceptions into one line and an exit status.

    Args:
        config_name: name of the YAML file in ``conf/``.
        task: the command, called with the composed configuration.
        prepare: function that rewrites the command line's arguments before Hydra reads them.
        conclude: function called after the task, or after the last one of a sweep.
    """
    encode_everything()
    # Otherwise Hydra prints exceptions itself, its own way, and exits with status 1.
    os.environ["HYDRA_FULL_ERROR"] = "1"
    debug = any(argument.lower() == "debug=true" for argument in sys.argv[1:])
    status = 0

    def job(composed: DictConfig) -> None:
        # Caught inside of the job: outside, Hydra has already printed its own message.
        nonlocal status
        try:
            task(composed)
        except UserError as error:
            if debug:
                raise
            status = _report(error, config_name, folders)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    folders = [conf_folder()]
    if "--version" in sys.argv[1:]:
        print(f"glow_app {versions()['glow_app']}")
        sys.exit(0)
    try:
        check_flags(sys.argv[1:])
        check_foreign_files(sys.argv[1:])
        folders += foreign_folders(sys.argv[1:])
        sys.argv[1:] = prepare(literal_paths(sys.argv[1:]))
    except UserError as error:
        sys.exit(_report(error, config_name, folders))
    try:
        if pages.asked_for(sys.argv[1:]):
            print(pages.text(config_name, sys.argv[1:], folders))
            sys.exit(0)
        hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=config_name)(job)()
        conclude()
    except (HydraException, OmegaConfBaseException, UserError) as error:
        if debug:
            raise
        status = _report(error, config_name, folders)
    sys.exit(status)


def _report(error: Exception, command: str, folders: Sequence[Path]) -> int:
    if rank_info().rank > 0:
        # If all ranks find the same error, rank 0 prints it, and the others are ended while they wait.
        time.sleep(PATIENCE)
    print(f"error: {one_line(error, command, folders, sys.argv[1:])}", file=sys.stderr, flush=True)
    return USER_ERROR
