"""Files that come with the package: configurations, and trained models that have names."""

from pathlib import Path


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
    """``path`` if it exists or no shipped model has that name, else the folder of that model."""
    given = Path(path).expanduser()
    return given if given.exists() else models().get(str(path), given)


def is_shipped(place: Path) -> bool:
    """Returns whether a folder is a shipped model's, which is shared or replaced by the next installation."""
    return place.resolve() in models().values()
