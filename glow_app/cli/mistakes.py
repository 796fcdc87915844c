"""Turns the errors of Hydra, OmegaConf and the options into one line that says what was probably meant."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_type_hints

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException

from glow_app.cli.pages import PAGES
from glow_app.config.check import SCHEMAS, did_you_mean

SYNONYMS = {
    "learning_rate": "lr",
    "epochs": "max_steps", "epoch": "max_steps", "n_epochs": "max_steps", "num_epochs": "max_steps",
    "max_epochs": "max_steps", "steps": "max_steps", "iterations": "max_steps", "iters": "max_steps",
    "bs": "batch_size", "batch": "batch_size", "n_batch": "batch_size",
    "gpus": "devices", "num_gpus": "devices", "n_gpus": "devices", "ngpus": "devices", "device": "accelerator",
    "n_train": "n_images", "K": "n_steps", "n_flow": "n_steps", "depth": "n_steps",
    "L": "n_levels", "n_block": "n_levels", "levels": "n_levels",
    "hidden": "width", "hidden_channels": "width", "n_channels": "channels",
    "resolution": "image_size", "img_size": "image_size", "size": "image_size",
    "temp": "temperature", "num_samples": "n", "n_samples": "n",
    "ckpt": "checkpoint", "model_path": "checkpoint", "load": "checkpoint", "checkpoint": "resume", "resume": "run",
    "outdir": "output", "out": "output", "save_dir": "output", "output_dir": "output",
    "dataroot": "root", "data_dir": "root", "data_path": "root", "path": "root",
    "num_workers": "workers", "n_workers": "workers", "amp": "precision", "fp16": "precision",
}  # fmt: skip
"""Names of options in other programs -> the last part of its key here."""

GROUPS = {"dataset": "data", "arch": "model", "network": "model", "optimizer": "optim"}
"""Names of groups of options in other programs."""

REMARKS = {
    "epochs": " An epoch is the number of training images / trainer.batch_size.",
    "gpus": " Choose trainer=gpu or trainer=ddp with it.",
    "device": " Choose trainer=gpu or trainer=cpu.",
}


def one_line(error: Exception, command: str, folders: Sequence[Path], arguments: Sequence[str]) -> str:
    """The message of an error.

    Args:
        error: from Hydra, OmegaConf or glow_app.
        command: the command, as its file in ``conf/`` is called.
        folders: folders of configuration files.
        arguments: the command line.
    """
    text, cause = str(error), error.__cause__
    if isinstance(error, OverrideParseException):
        return _unreadable(arguments) or _plain(text)
    if unknown := re.search(r"Key '([^']+)' is not in struct\s+full_key: (\S+)", f"{text}\n{cause}"):
        return unknown_key(unknown[2], command)
    if unknown := re.search(r"Could not override '([^']+)'", text):
        return unknown_key(unknown[1], command)
    if several := re.search(r"Ambiguous value for argument '([^=']+)=([^']*)'", text):
        key, value = several.groups()
        return f"{key}={value} has several values: give one, or {key}=[{value}] for a list, or -m for a run of each"
    if missing := re.search(r"Could not find '((?:hydra/)?[^'/]+)/([^']+)'", text):
        choices = sorted(path.stem for folder in folders for path in (folder / missing[1]).glob("*.yaml"))
        near = did_you_mean(missing[2], choices)
        if missing[1] == "data" and "/" in missing[2]:
            near = f": pictures in a folder are data=folder data.root={missing[2]}"
        return f"{missing[1]}={missing[2]} is not one of {', '.join(choices)}{near}"
    return _plain(text)


def unknown_key(key: str, command: str) -> str:
    """The message for a key that a command does not have."""
    own = _meanings(command)
    last = key.rpartition(".")[2]
    if last in GROUPS:
        return f"unknown key {key}: did you mean {GROUPS[last]}=...?"
    names = [last]
    while names[-1] in SYNONYMS:  # a synonym may have one: a command may have either
        names.append(SYNONYMS[names[-1]])
    for name in names:
        meant = [known for known in own if known.rpartition(".")[2] == name and known != key]
        if meant:
            shown = " or ".join(f"{known} ({own[known]})" for known in meant[:3])
            return f"unknown key {key}: did you mean {shown}?{REMARKS.get(last, '')}"
    for group in SCHEMAS:
        if choices := _of_group(group).get(key):
            return f"unknown key {key}: it is a key of {', '.join(f'{group}={name}' for name in choices)}"
    if owners := [f"glow-{name}" for name in sorted(PAGES) if name != command and _has(name, key)]:
        return f"unknown key {key}: it is a key of {', '.join(owners)}"
    groups = {known.partition(".")[0] for known in own}
    return f"unknown key {key}{did_you_mean(key, [*groups, *own])}"


def _has(command: str, key: str) -> bool:
    return any(known == key or known.startswith(f"{key}.") for known in _meanings(command))


def _meanings(command: str) -> dict[str, str]:
    """The keys of a command, with what they mean; of groups that depend on a choice, those of every choice."""
    found: dict[str, str] = {}
    schema = PAGES[command].schema
    for field in dataclasses.fields(schema):
        kind = get_type_hints(schema)[field.name]
        if not dataclasses.is_dataclass(kind):
            found[field.name] = field.metadata["meaning"]
            continue
        schemas = SCHEMAS.get(field.name, {"": kind})
        for name in sorted(schemas, key=lambda name: name != "glow"):  # a key of several models is explained as Glow's
            for inner in dataclasses.fields(schemas[name]):
                found.setdefault(f"{field.name}.{inner.name}", inner.metadata["meaning"])
    return found


def _of_group(group: str) -> dict[str, list[str]]:
    """The keys of a group whose options depend on a choice, with the choices that have them."""
    found: dict[str, list[str]] = {}
    for name, schema in SCHEMAS[group].items():
        for field in dataclasses.fields(schema):
            found.setdefault(f"{group}.{field.name}", []).append(name)
    return found


def _unreadable(arguments: Sequence[str]) -> str | None:
    """The message for the first argument that Hydra cannot parse."""
    for argument in arguments:
        try:
            OverridesParser.create().parse_overrides([argument])
        except HydraException:
            key, equals, value = argument.partition("=")
            if not equals:
                return f"{argument}: options are key=value"
            return f"{argument} cannot be read: put the value into quotes of its own, {key}='\"{value}\"'"
    return None


def _plain(text: str) -> str:
    return " ".join(re.sub(r"See https://\S+ for details", "", text).split())
