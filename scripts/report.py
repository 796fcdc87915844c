"""Makes a page of a run: the same as the command ``glow-report``."""

from glow_app.cli import report

if __name__ == "__main__":
    report()
