"""Files that come with the package: configurations, and trained models that have names."""

from pathlib import Path

from glow_app.config.paths import as_path

DEFAULT = "celeba64"
"""The model that commands use unless another is named, in ``conf/*.yaml`` too."""


def folder(name: str) -> Path:
    """The folder ``conf`` or ``checkpoints``: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / name
    return installed if installed.is_dir() else package.parent / name


def models() -> dict[str, Path]:
    """The shipped models: name -> folder."""
    cards = sorted(folder("checkpoints").glob("*/model.json"))
    return {card.parent.name: card.parent.resolve() for card in cards}


def found(path: str | Path) -> Path:
    """``path``, or, where there is nothing, the folder of the shipped model of that name, if there is one."""
    given = Path(as_path(str(path)))
    return given if given.exists() else models().get(str(path), given)


def is_shipped(place: Path) -> bool:
    """Returns whether a folder is a shipped model's, which is shared or replaced by the next installation."""
    return place.resolve() in models().values()
