"""Pictures: grids of images, with labels where they need them, curves and animations."""

from glow_app.figures.pictures import crossed_out, curves, enlarged, grid, headed, save_png, stacked, to_picture, zoomed

__all__ = ["crossed_out", "curves", "enlarged", "grid", "headed", "save_png", "stacked", "to_picture", "zoomed"]
