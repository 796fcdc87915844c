"""Compares variants of a model: the same as the command ``glow-compare``."""

from glow_app.cli import compare

if __name__ == "__main__":
    compare()
