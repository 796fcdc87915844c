"""The commands: one function each, called by the console commands and the scripts."""

from glow_app.cli.commands import (
    demo,
    directions,
    edit,
    evaluate,
    export,
    interpolate,
    judge,
    plot2d,
    report,
    restore,
    sample,
    score,
)
from glow_app.cli.run import conf_folder
from glow_app.cli.training_commands import compare, distill, prepare, train

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
    "report",
    "restore",
    "sample",
    "score",
    "train",
]
