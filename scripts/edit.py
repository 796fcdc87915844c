"""Changes attributes of pictures: the same as the command ``glow-edit``."""

from glow_app.cli import edit

if __name__ == "__main__":
    edit()
