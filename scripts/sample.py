"""Draws new pictures from a trained model: the same as the command ``glow-sample``."""

from glow_app.cli import sample

if __name__ == "__main__":
    sample()
