"""The commands: one function each, which is what a console command or a script calls."""

from glow_app.cli.commands import demo, directions, edit, evaluate, export, interpolate, judge, prepare, sample, train
from glow_app.cli.run import conf_folder

__all__ = [
    "conf_folder",
    "demo",
    "directions",
    "edit",
    "evaluate",
    "export",
    "interpolate",
    "judge",
    "prepare",
    "sample",
    "train",
]
