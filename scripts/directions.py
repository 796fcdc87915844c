"""Computes the attribute vectors of a trained model: the same as the command ``glow-directions``."""

from glow_app.cli import directions

if __name__ == "__main__":
    directions()
