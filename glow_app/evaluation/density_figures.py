"""Density plots of a flow in the plane, and animations from its latents to its points."""

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from PIL.Image import Image as Picture
from torch import Tensor

from glow_app import figures
from glow_app.evaluation.density import Portrait, Square

PANEL = 3.2
"""Inches of a panel's side."""

DEEPEST = 12.0
"""Nats below the maximum of a log-density at which its colours end."""

WIDEST = 1.0
"""Nats of a difference of log-densities at which its colours end."""


def portrait(shown: Portrait, density: str, title: str) -> Picture:
    """Draws four panels: the data, the flow's samples, its density, and the grid of its latents.

    Args:
        shown: content of the panels.
        density: ``log`` for the log-density in nats, ``linear`` for the density.
        title: title of the samples.
    """
    figure = Figure(figsize=(4 * PANEL, 1.08 * PANEL), dpi=75, layout="constrained")
    data, samples, picture, lines = figure.subplots(1, 4)
    _panel(data, shown.square, "data")
    data.scatter(*shown.data.T.numpy(), s=1.0, c="black", linewidths=0)
    _panel(samples, shown.square, title)
    samples.scatter(*shown.samples.T.numpy(), s=1.0, c=_angle(shown.latents), cmap="hsv", linewidths=0)
    _panel(picture, shown.square, "log-density, nats" if density == "log" else "density")
    values = shown.log_density.clamp(min=shown.log_density.max().item() - DEEPEST)
    half = shown.square.side / 2
    drawn = picture.imshow(
        (values if density == "log" else values.exp()).numpy(), origin="lower", extent=(-half, half, -half, half)
    )
    figure.colorbar(drawn, ax=picture, shrink=0.8)
    _panel(lines, shown.square, "the grid of the latents")
    colours = ["tab:blue"] * (len(shown.lines) // 2) + ["tab:orange"] * (len(shown.lines) // 2)
    lines.add_collection(LineCollection(list(shown.lines.numpy()), colors=colours, linewidths=0.6))
    return figures.to_picture(_rendered(figure))


def side_by_side(teacher: Portrait, student: Portrait, titles: tuple[str, str]) -> Picture:
    """Draws the samples of two flows, their log-densities with the same colours, and the difference of these.

    Args:
        teacher: content of the panels of the first flow, p.
        student: content of the panels of the second, q, on the same square.
        titles: titles of both.
    """
    figure = Figure(figsize=(5 * PANEL, 1.08 * PANEL), dpi=75, layout="constrained")
    panels = figure.subplots(1, 5)
    half = teacher.square.side / 2
    extent = (-half, half, -half, half)
    highest = max(one.log_density.max().item() for one in (teacher, student))
    for one, title, dots, picture in zip((teacher, student), titles, panels[:2], panels[2:4], strict=True):
        _panel(dots, one.square, f"{title}, samples")
        dots.scatter(*one.samples.T.numpy(), s=1.0, c=_angle(one.latents), cmap="hsv", linewidths=0)
        _panel(picture, one.square, f"{title}, log-density")
        values = one.log_density.clamp(min=highest - DEEPEST).numpy()
        picture.imshow(values, origin="lower", extent=extent, vmin=highest - DEEPEST, vmax=highest)
    figure.colorbar(panels[3].images[0], ax=panels[3], shrink=0.8)
    _panel(panels[4], teacher.square, "log q - log p, nats, where q or p is high")
    ratio = (student.log_density - teacher.log_density).clamp(-WIDEST, WIDEST)
    known = torch.maximum(student.log_density, teacher.log_density) > highest - DEEPEST / 2
    shown = ratio.masked_fill(~known, float("nan")).numpy()
    drawn = panels[4].imshow(shown, origin="lower", extent=extent, cmap="RdBu_r", vmin=-WIDEST, vmax=WIDEST)
    figure.colorbar(drawn, ax=panels[4], shrink=0.8)
    return figures.to_picture(_rendered(figure))


def film(stages: Tensor, lines: Tensor, latents: Tensor, square: Square, between: int) -> Tensor:
    """Animates samples and grid from latents to data: uint8 (frames, 3, H, W).

    Args:
        stages: stages of the samples, (K + 1, N, 2), see :func:`glow_app.evaluation.density.stages`.
        lines: stages of the grid, (K + 1, L, P, 2).
        latents: latents of the samples, (N, 2), for their colour.
        square: the square that is shown.
        between: frames from one stage to the next; points move on straight lines.
    """
    figure = Figure(figsize=(PANEL, 1.08 * PANEL), dpi=100, layout="constrained")
    axes = figure.subplots()
    _panel(axes, square, "")
    grid = LineCollection([], colors="silver", linewidths=0.5, zorder=0)
    axes.add_collection(grid)
    dots = axes.scatter(*stages[0].T.numpy(), s=1.5, c=_angle(latents), cmap="hsv", linewidths=0)
    n_stages = len(stages) - 1
    frames: list[Tensor] = []
    for frame in range(n_stages * between + 1):
        stage, part = divmod(frame, between)
        after = min(stage + 1, n_stages)
        grid.set_segments(list(torch.lerp(lines[stage], lines[after], part / between).numpy()))
        dots.set_offsets(torch.lerp(stages[stage], stages[after], part / between).numpy())
        axes.set_title(f"{frame / between:.1f} of {n_stages} layers", fontsize=10)
        frames.append(_rendered(figure))
    return torch.stack(frames)


def _angle(latents: Tensor) -> list[float]:
    return torch.atan2(latents[:, 1], latents[:, 0]).tolist()


def _panel(axes: Axes, square: Square, title: str) -> None:
    half = square.side / 2
    axes.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=7)


def _rendered(figure: Figure) -> Tensor:
    """Renders a figure to uint8 (3, H, W)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    width, height = canvas.get_width_height()
    pixels = torch.frombuffer(bytearray(canvas.buffer_rgba()), dtype=torch.uint8)
    return pixels.view(height, width, 4)[:, :, :3].permute(2, 0, 1)
