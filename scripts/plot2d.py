"""Draws a flow of points in the plane: the same as the command ``glow-plot2d``."""

from glow_app.cli import plot2d

if __name__ == "__main__":
    plot2d()
