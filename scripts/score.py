"""Scores images by how probable they are: the same as the command ``glow-score``."""

from glow_app.cli import score

if __name__ == "__main__":
    score()
