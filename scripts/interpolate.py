"""Interpolates from one picture to another: the same as the command ``glow-interpolate``."""

from glow_app.cli import interpolate

if __name__ == "__main__":
    interpolate()
