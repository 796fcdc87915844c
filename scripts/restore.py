"""Completes pictures: the same as the command ``glow-restore``."""

from glow_app.cli import restore

if __name__ == "__main__":
    restore()
