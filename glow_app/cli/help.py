"""The ``--help`` page of a command. Meanings come from the schema, values from ``conf/``."""

import dataclasses
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_type_hints

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from glow_app.cli.arguments import quoted
from glow_app.cli.pages import PAGES
from glow_app.config.check import SCHEMAS, check_choice

GROUPS = {
    "data": "the data set; with a trained model, by default its own",
    "model": "the architecture and its size; some bring a learning rate",
    "optim": "how it learns",
    "trainer": "device, batch, precision",
    "logger": "where metrics go, besides metrics.csv",
    "experiment": "the paper's runs, and ours for one GPU; sets all other groups",
}

WIDEST, COLUMN = 110, 30
"""Characters per line; column at which explanations begin."""

EXACT = 2**53
"""Larger limits are not shown."""

CLOSING = (
    "The values are those of this command line: glow-train data=folder --help shows the keys of data=folder. With -m, "
    "key=1,2,3 runs the command once for each. --cfg job prints the whole configuration as a file."
)


def asked_for(arguments: list[str]) -> bool:
    """Returns whether the command line asks for help."""
    return "--help" in arguments or "-h" in arguments


def text(command: str, arguments: list[str], folders: Sequence[Path]) -> str:
    """The page of a command.

    Args:
        command: the name of its file in ``conf/``.
        arguments: the rest of the command line; the page shows the values and choices that it sets.
        folders: folders of configuration files: the command's own, then those that the command line adds.

    Raises:
        HydraException, OmegaConfBaseException, UserError: the arguments do not compose.
    """
    page = PAGES[command]
    overrides = [argument for argument in arguments if "=" in argument and not argument.startswith("-")]
    own, *added = (folder.absolute() for folder in folders)
    if added:
        overrides.append(f"hydra.searchpath=[{','.join(quoted(f'file://{folder}') for folder in added)}]")
    with initialize_config_dir(str(own), version_base="1.3"):
        composed = compose(command, overrides=overrides, return_hydra_config=True)
    chosen = dict(composed.hydra.runtime.choices)
    options = meanings(page.schema, OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"]))
    lines = {key: _entry(f"{key}={_written(value)}", meaning) for key, (value, meaning) in options.items()}
    sections = [
        [f"glow-{command}: {page.purpose}", *_wrapped(page.more)],
        ["Examples", *(line for example in page.examples for line in _entry(*example))],
        *([["Groups (group=choice)", *groups]] if (groups := list(_groups(chosen, folders))) else []),
        ["Most used keys (key=value)", *(line for key in page.most_used if key in options for line in lines[key])],
        ["All other keys", *(line for key, entry in lines.items() if key not in page.most_used for line in entry)],
        _wrapped(CLOSING),
    ]
    return "\n\n".join("\n".join(section) for section in sections)


def meanings(schema: type, composed: DictConfig) -> dict[str, tuple[Any, str]]:
    """Maps options to value and meaning, ``{"model.width": (64, "..."), ...}``; the groups' options are last."""
    values = OmegaConf.to_container(composed, resolve=True)
    assert isinstance(values, dict)
    plain, grouped = {}, {}
    for field in dataclasses.fields(schema):
        kind = get_type_hints(schema)[field.name]
        if not dataclasses.is_dataclass(kind):
            plain[field.name] = (values[field.name], _meaning(field.metadata))
            continue
        if field.name in SCHEMAS:
            name = str(values[field.name]["name"])
            check_choice(f"{field.name}.name", name, tuple(SCHEMAS[field.name]))
            kind = SCHEMAS[field.name][name]
        for inner in dataclasses.fields(kind):
            grouped[f"{field.name}.{inner.name}"] = (values[field.name][inner.name], _meaning(inner.metadata))
    return plain | grouped


def _meaning(metadata: Mapping[str, Any]) -> str:
    return metadata["meaning"] + (f" ({limits})" if (limits := _limits(metadata)) else "")


def _limits(metadata: Mapping[str, Any]) -> str:
    """The allowed values of an option, in words."""
    if metadata["choices"]:
        return ", ".join(metadata["choices"])
    least, above, most = metadata["at_least"], metadata["above"], metadata["at_most"]
    low = f"above {above:,}" if above is not None else None if least is None else f"at least {least:,}"
    if most is None or most >= EXACT:
        return low or ""
    return f"{low}, at most {most:,}" if low else f"at most {most:,}"


def _groups(chosen: Mapping[str, str | None], folders: Sequence[Path]) -> Iterable[str]:
    for group, purpose in GROUPS.items():
        if group in chosen:
            # Folder by folder, ours first: sorted together, the order would depend on their paths.
            found = [path for folder in folders for path in sorted((folder / group).glob("*.yaml"))]
            choices = ", ".join(path.stem for path in found)
            yield from _entry(f"{group}={_written(chosen[group])}", f"{purpose}: {choices}")


def _entry(term: str, meaning: str) -> list[str]:
    """A term and its explanation beside it, or, if the term is long, below it."""
    lines = textwrap.wrap(meaning, _width(), initial_indent=" " * COLUMN, subsequent_indent=" " * COLUMN)
    if len(term) + 4 > COLUMN:
        return [f"  {term}", *lines]
    return [f"  {term}".ljust(COLUMN) + lines[0].lstrip(), *lines[1:]]


def _wrapped(paragraph: str) -> list[str]:
    return textwrap.wrap(paragraph, _width())


def _width() -> int:
    return max(60, min(WIDEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def _written(value: Any) -> str:
    """A value as written on the command line."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list():
            return f"[{','.join(_written(item) for item in value)}]"
        case _:
            return str(value)
