"""The pages of ``--help``."""

from glow_app.cli.pages.commands import PAGES

__all__ = ["PAGES"]
