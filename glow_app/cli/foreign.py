"""Configuration files from elsewhere (``--config-dir``): they may choose options, and nothing that runs code.

Hydra makes objects of whatever a file names under ``hydra.callbacks``, before a command has seen anything of it.
"""

from pathlib import Path

import yaml

from glow_app.errors import UserError

FOLDER_FLAGS = ("--config-dir", "-cd")
REFUSED_FLAGS = ("--config-path", "-cp", "--config-name", "-cn")


def check_foreign_files(arguments: list[str]) -> None:
    """Raises a UserError if the command line brings in a file that could run code."""
    words = iter(arguments)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag in REFUSED_FLAGS:
            raise UserError(f"{flag}: the command has its own configuration; add files to it with --config-dir")
        if flag.lstrip("+") == "hydra.searchpath":
            raise UserError("hydra.searchpath: give the folder with --config-dir")
        if flag in FOLDER_FLAGS:
            folder = Path(value if equals else next(words, ""))
            for path in sorted({*folder.rglob("*.yaml"), *folder.rglob("*.yml")}):
                _check(path)


def _check(path: Path) -> None:
    try:
        tokens = list(yaml.scan(path.read_text()))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    for token in tokens:
        if isinstance(token, yaml.TagToken | yaml.AliasToken):
            raise UserError(f"{path}: tags and aliases are not read; write the value itself")
        if isinstance(token, yaml.ScalarToken) and ("_target_" in token.value or token.value.split(".")[0] == "hydra"):
            raise UserError(f"{path}: {token.value} can run code; take it out")
