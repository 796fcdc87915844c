"""Decodes a data set into the cache: the same as the command ``glow-prepare``."""

from glow_app.cli import prepare

if __name__ == "__main__":
    prepare()
