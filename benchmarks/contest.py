"""Who is timed at a shape: ours, and every peer in its faster memory layout, in float32 and under autocast."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.models import Model
from benchmarks.peers import Check, Implementation, built, check
from benchmarks.shapes import Shape
from benchmarks.timing import Timing, alternate, fastest

HEATS, SECONDS = 3, 0.3
"""Repetitions of each layout, and their length, by which the faster layout is chosen."""

NAMES = {torch.contiguous_format: "contiguous", torch.channels_last: "channels_last"}

Task = Callable[[Model, Tensor], Callable[[], object]]
"""(model, images) -> what is timed."""


@dataclass(frozen=True)
class Contender:
    """An implementation that is ready to be timed.

    Attributes:
        implementation: which.
        check: that it is a Glow.
        layout: memory layout of its images and weights.
        model: the model.
        run: what is timed.
    """

    implementation: Implementation
    check: Check
    layout: str
    model: Model
    run: Callable[[], object]


def entered(
    implementations: Iterable[Implementation], shape: Shape, images: Tensor, task: Task, say: Callable[[str], object]
) -> list[Contender]:
    """Builds what offers the shape, each in its faster layout; says of whom neither layout runs, and leaves it out."""
    found = []
    for one in implementations:
        if not one.offers(shape):
            continue
        layouts, failed = {}, ""
        for layout in one.layouts:
            try:
                layouts[NAMES[layout]] = contender(one, shape, images, layout, task)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                if one.is_ours:
                    raise
                failed = str(error).splitlines()[0]
        if not layouts:
            say(f"{one.name} is left out: {failed}")
        elif len(layouts) == 1:
            found += layouts.values()
        else:
            timings = alternate({name: c.run for name, c in layouts.items()}, HEATS, images.device, SECONDS)
            found.append(layouts[fastest(timings, layouts)])
    return found


def contender(one: Implementation, shape: Shape, images: Tensor, layout: torch.memory_format, task: Task) -> Contender:
    """Builds, checks and runs one once."""
    model = built(one, shape, images, layout)
    x = images[: shape.batch].clone(memory_format=layout)
    checked = check(model, x)
    run = task(model, x)
    run()
    return Contender(one, checked, NAMES[layout], model, run)


def fastest_peers(contenders: Iterable[Contender], timings: Mapping[str, list[Timing]]) -> dict[str, str]:
    """Precision -> name of the fastest peer of that precision; without peers of it, there is none."""
    names: dict[str, list[str]] = {}
    for one in contenders:
        if not one.implementation.is_ours:
            names.setdefault(one.implementation.precision, []).append(one.implementation.name)
    return {precision: fastest(timings, among) for precision, among in names.items()}
