"""Measures bits per dimension of a trained model: the same as the command ``glow-evaluate``."""

from glow_app.cli import evaluate

if __name__ == "__main__":
    evaluate()
