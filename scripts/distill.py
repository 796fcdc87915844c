"""Distils a flow into one whose samples are fast: the same as the command ``glow-distill``."""

from glow_app.cli import distill

if __name__ == "__main__":
    distill()
