"""Measures edits with a classifier of its own: the same as the command ``glow-judge``."""

from glow_app.cli import judge

if __name__ == "__main__":
    judge()
