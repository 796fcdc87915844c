"""Sampling: images from a model in evaluation mode, without gradients, one at a time and in batches of 16.

    python -m benchmarks.sample
    python -m benchmarks.sample --device cuda

Ours keeps the inverse of each step's affine map, and the weights as the processor reads them, while no parameter
changes; nflows keeps its inverses with use_cache.
"""

from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.contest import Contender, entered, fastest_peers
from benchmarks.models import Model
from benchmarks.peers import BF16, PLAIN, Implementation, peers
from benchmarks.shapes import DEEP, NARROW, SHAPES, Shape, faces
from benchmarks.timing import Requirement, Timing, alternate, ratio

BATCHES = (1, 16)

BOUNDS = {1: (0.80, 0.60), 16: (0.70, 0.60)}
"""Images at a time -> what has to hold on a CPU against the fastest peer, and what is aimed for; of 1, at width 128."""


def time_shape(
    shape: Shape, n: int, repeats: int, seconds: float, device: torch.device, others: Sequence[Implementation]
) -> tuple[list[Contender], dict[str, list[Timing]]]:
    """The contenders and timings of one shape and batch.

    Raises:
        RuntimeError: an image of ours is not finite, so that its time means nothing.
    """
    images = faces(shape.n_initial, shape.size, device)
    implementations = [one for one in (PLAIN, BF16, *others) if device.type in one.samples_on]

    def sampling(model: Model, x: Tensor) -> Callable[[], Tensor]:
        model.eval()
        if not model.sample(n).isfinite().all():
            raise RuntimeError("a sample is not finite")
        return lambda: model.sample(n)

    with torch.no_grad():
        contenders = entered(implementations, shape, images, sampling, report.CONSOLE.print)
        timings = alternate({one.implementation.name: one.run for one in contenders}, repeats, device, seconds)
    return contenders, timings


def main() -> None:
    """Measures, prints tables, and writes sample.json and sample.png."""
    arguments = report.timed_parser(__doc__, repeats=9, seconds=1.0).parse_args()
    device, facts = arguments.device, report.start(arguments)
    panels, shapes, found = {}, {}, []
    path = report.timed_file(arguments.output, "sample", device, ".json")
    content = {"machine": facts, "repeats": arguments.repeats, "shapes": shapes, "required": []}
    others = peers(arguments.programs)
    for shape in report.shapes(arguments, usual=SHAPES.values()):
        for n in BATCHES:
            contenders, timings = time_shape(shape, n, arguments.repeats, arguments.seconds, device, others)
            fastest = fastest_peers(contenders, timings)
            title = f"{shape.name}, {n} at a time"
            panels[title] = report.rows(contenders, timings, fastest, n)
            report.show(title, panels[title], device)
            per_image = {name: median(t.cost for t in times) / n for name, times in timings.items()}
            facts_of_rows = [row.facts() for row in panels[title]]
            shapes[title] = {"fastest_peers": fastest, "seconds_per_image": per_image, "rows": facts_of_rows}
            report.write(path, content)  # whoever is interrupted has something
            bound = device.type == "cpu" and (n > 1 or shape in (NARROW, DEEP))
            for one in (PLAIN, BF16) if bound else ():
                if peer := fastest.get(one.precision):
                    what = f"{title}: {one.name} against the fastest peer, {peer}"
                    found.append((Requirement(what, *BOUNDS[n]), ratio(timings, one.name, peer)))
    plot = report.timed_file(arguments.output, "sample", device, ".png")
    report.plot_ratios(plot, panels, "time of an image, fastest peer of the precision = 1")
    report.write(path, content | {"required": report.verdicts(found)})


if __name__ == "__main__":
    main()
