"""Sampling: images from a model in evaluation mode, without gradients, one at a time and in batches of 16.

    python -m benchmarks.sample
    python -m benchmarks.sample --device cuda

Ours keeps the inverse of each step's affine map, and the weights as the processor reads them, while no parameter
changes; nflows keeps its inverses with use_cache.
"""

from statistics import median

import torch

from benchmarks import report
from benchmarks.peers import BF16, PEERS, PLAIN, built, check
from benchmarks.shapes import SHAPES, Shape, faces
from benchmarks.timing import Requirement, Timing, alternate, fastest, ratio

BATCHES = (1, 16)


def time_shape(
    shape: Shape, n: int, repeats: int, seconds: float, device: torch.device
) -> tuple[list[report.Row], dict[str, list[Timing]], str | None]:
    """The rows, timings and fastest peer of one shape and batch.

    Raises:
        RuntimeError: an image is not finite, so that its time means nothing.
    """
    images = faces(shape.n_initial, shape.size, device)
    implementations = [one for one in (PLAIN, BF16, *PEERS) if one.offers(shape) and device.type in one.samples_on]
    models = {one: built(one, shape, images).eval() for one in implementations}
    checks = {one: check(model, images[: shape.batch]) for one, model in models.items()}
    with torch.no_grad():
        for one, model in models.items():
            if not model.sample(n).isfinite().all():
                raise RuntimeError(f"{one.name}: a sample is not finite")
        tasks = {one.name: lambda model=model: model.sample(n) for one, model in models.items()}
        timings = alternate(tasks, repeats, device, seconds)
    peers = [peer.name for peer in PEERS if peer.name in timings]
    peer = fastest(timings, peers) if peers else None
    return report.rows(checks, timings, peer or PLAIN.name, n), timings, peer


def main() -> None:
    """Measures, prints tables, and writes sample.json and sample.png."""
    arguments = report.timed_parser(__doc__, repeats=9, seconds=1.0).parse_args()
    device, facts = arguments.device, report.start(arguments)
    panels, shapes, found = {}, {}, []
    path = report.file(arguments.output, "sample", device, ".json")
    content = {"machine": facts, "repeats": arguments.repeats, "shapes": shapes, "required": []}
    for shape in report.shapes(arguments, usual=SHAPES.values()):
        for n in BATCHES:
            rows, timings, peer = time_shape(shape, n, arguments.repeats, arguments.seconds, device)
            title = f"{shape.name}, {n} at a time"
            panels[title] = rows
            report.show(title, rows, device)
            per_image = {name: median(t.cost for t in times) / n for name, times in timings.items()}
            facts_of_rows = [row.facts() for row in rows]
            shapes[title] = {"fastest_peer": peer, "seconds_per_image": per_image, "rows": facts_of_rows}
            report.write(path, content)  # whoever is interrupted has something
            if n == 16 and peer and device.type == "cpu":
                for one in (PLAIN, BF16):
                    what = f"{title}: {one.name} against the fastest peer, {peer}"
                    found.append((Requirement(what, 0.80, 0.60), ratio(timings, one.name, peer)))
    report.plot_ratios(
        report.file(arguments.output, "sample", device, ".png"), panels, "time of an image, fastest peer = 1"
    )
    report.write(path, content | {"required": report.verdicts(found)})


if __name__ == "__main__":
    main()
