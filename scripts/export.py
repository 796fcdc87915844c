"""Exports a model for others to use: the same as the command ``glow-export``."""

from glow_app.cli import export

if __name__ == "__main__":
    export()
