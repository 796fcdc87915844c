"""The commands: one function each, called by the console commands and the scripts."""

from glow_app.cli.commands import (
    compare,
    demo,
    directions,
    distill,
    edit,
    evaluate,
    export,
    interpolate,
    judge,
    plot2d,
    prepare,
    restore,
    sample,
    score,
    train,
)
from glow_app.cli.run import conf_folder

__all__ = [
    "compare",
    "conf_folder",
    "demo",
    "directions",
    "distill",
    "edit",
    "evaluate",
    "export",
    "interpolate",
    "judge",
    "plot2d",
    "prepare",
    "restore",
    "sample",
    "score",
    "train",
]
