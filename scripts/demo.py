"""Serves a web page for a model on this machine: the same as the command ``glow-demo``."""

from glow_app.cli import demo

if __name__ == "__main__":
    demo()
