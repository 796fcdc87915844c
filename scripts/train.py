"""Trains a Glow: the same as the command ``glow-train``."""

from glow_app.cli import train

if __name__ == "__main__":
    train()
