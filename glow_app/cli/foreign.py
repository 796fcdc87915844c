"""Checks the flags and the foreign configuration files of a command line.

Files (``--config-dir``) may set options, but may not run code. Hydra instantiates what a file names under ``hydra``,
and writes to the folders that it names, before the command starts.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from glow_app.config.check import did_you_mean
from glow_app.errors import UserError

FOLDER_FLAGS = ("--config-dir", "-cd")
REFUSED_FLAGS = ("--config-path", "-cp", "--config-name", "-cn")
VALUES = {"--cfg": ("job", "hydra", "all"), "-c": ("job", "hydra", "all")}
FLAGS = (
    *FOLDER_FLAGS, *VALUES, "--help", "-h", "--hydra-help", "--version", "--resolve", "-r", "--package", "-p", "--run",
    "--multirun", "-m", "--shell-completion", "-sc", "--info", "-i",
)  # fmt: skip
"""Hydra's flags that are allowed, by their full names: Hydra itself also accepts abbreviations."""

OF_HYDRA = re.compile(r"\bhydra\b")


def check_flags(arguments: list[str]) -> None:
    """Raises a UserError for a flag that no command has, or that lacks its value."""
    for number, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if not word.startswith("-"):
            continue
        if flag in REFUSED_FLAGS:
            raise UserError(f"{flag}: the command has its own configuration; add files to it with --config-dir")
        if flag == "--experimental-rerun":
            raise UserError(f"{flag} reads a pickle, which can run code: give the options themselves")
        if flag not in FLAGS:
            near = f": write {word.lstrip('-')}" if equals else did_you_mean(flag, list(FLAGS))
            raise UserError(f"unknown flag {flag}; options are key=value{near}")
        following = value if equals else arguments[number + 1] if number + 1 < len(arguments) else ""
        if flag in VALUES and following not in VALUES[flag]:
            raise UserError(f"{flag} takes one of {', '.join(VALUES[flag])}")
        if flag in FOLDER_FLAGS and (not following or following.startswith("-")):
            raise UserError(f"{flag} takes a folder")


def foreign_folders(arguments: list[str]) -> list[Path]:
    """The folders of configuration files that the command line adds."""
    found: list[Path] = []
    for number, word in enumerate(arguments):
        flag, equals, value = word.partition("=")
        if flag in FOLDER_FLAGS:
            found.append(Path(value if equals else arguments[number + 1]))
    return found


def check_foreign_files(arguments: list[str]) -> None:
    """Raises a UserError if the command line, whose flags are checked, adds a file that could run code."""
    if any(word.partition("=")[0].lstrip("+") == "hydra.searchpath" for word in arguments):
        raise UserError("hydra.searchpath: give the folder with --config-dir")
    for folder in foreign_folders(arguments):
        for path in _files(folder):
            if path.relative_to(folder).parts[0] == "hydra":
                raise UserError(f"{path}: settings of hydra can run code; take it out")
            _check(path)


def _files(folder: Path) -> Iterator[Path]:
    """Yields the files that Hydra would find; like Hydra, it follows links."""
    seen: set[str] = set()
    for current, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        if (real := os.path.realpath(current)) in seen:
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(current, name) for name in sorted(files) if name.endswith((".yaml", ".yml")))


def _check(path: Path) -> None:
    try:
        text = path.read_text()
        tokens = list(yaml.scan(text))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from error
    for line in text.splitlines():
        if "@package" in line and OF_HYDRA.search(line):
            raise UserError(f"{path}: {line.strip()} can run code; take it out")
    for before, token in zip([None, *tokens], tokens, strict=False):
        if isinstance(token, yaml.TagToken | yaml.AliasToken):
            raise UserError(f"{path}: tags and aliases are not read; write the value itself")
        if isinstance(token, yaml.ScalarToken):
            names = not isinstance(before, yaml.ValueToken)  # a key, or an entry of a list such as the defaults
            if "_target_" in token.value or (names and OF_HYDRA.search(token.value)):
                raise UserError(f"{path}: {token.value} can run code; take it out")
