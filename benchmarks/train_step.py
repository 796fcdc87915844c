"""Training steps: forward, backward and Adam update, ours beside the peers.

    python -m benchmarks.train_step                                  # all shapes that suit a processor
    python -m benchmarks.train_step --shapes 32-L3-K8-w128 --repeats 5
    python -m benchmarks.train_step --device cuda                    # the published shapes as well

    python -m benchmarks.train_step --programs /data/checkouts       # programs from GitHub too

All use torch.optim.Adam(fused=True), the same images and their own defaults; ActNorm is initialised before the timing.
Peers run in the memory layout that is faster for them, in float32 and under torch.autocast.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.contest import Contender, entered, fastest_peers
from benchmarks.models import Model
from benchmarks.peers import BF16, CAPTURED, MEMORY, OURS, PLAIN, Implementation, peers
from benchmarks.shapes import DEEP, EMPTY, NARROW, SHAPES, WIDE, Shape, faces
from benchmarks.timing import Quartiles, Requirement, Timing, alternate, ratio
from glow_app.data.stream import Batch
from glow_app.training.fast.cuda_graph import CapturedAdam, CapturedLoss
from glow_app.training.optim import largest_first

LEARNING_RATE = 1e-5
"""Small: hundreds of steps on one batch must not carry a model to where numbers are not finite."""


STEP_BOUNDS = {
    NARROW: {PLAIN.name: (1.00, 0.85), BF16.name: (0.90, 0.70)},
    DEEP: {PLAIN.name: (1.00, 0.85), BF16.name: (0.90, 0.70)},
    WIDE: {PLAIN.name: (0.95, 0.80), BF16.name: (0.80, 0.60)},
    EMPTY: {PLAIN.name: (1.00, 0.70)},
}
"""What has to hold on a CPU against the fastest peer of the same precision, and what is aimed for."""


def training_step(model: Model, x: Tensor, captured: bool = False) -> Callable[[], Tensor]:
    """A task that updates ``model`` once and returns the loss before the update.

    Gradients are freed at the end, so that no model holds memory while another has its turn. With ``captured``, loss
    and gradients are captured when the task runs for the first time, the update two runs later.
    """
    parameters = largest_first(p for p in model.parameters() if p.requires_grad)
    adam = CapturedAdam if captured else partial(torch.optim.Adam, fused=True)
    optimizer = adam(parameters, lr=LEARNING_RATE, betas=(0.9, 0.999))
    batch = Batch(x, torch.arange(len(x), device=x.device), None)

    def loss_of(batch: Batch) -> Tensor:
        return model.loss(batch.images)

    loss_or_replay = CapturedLoss(loss_of, parameters) if captured else loss_of

    def step() -> Tensor:
        loss = loss_or_replay(batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def time_shape(
    shape: Shape, repeats: int, seconds: float, device: torch.device, others: Sequence[Implementation]
) -> tuple[list[Contender], dict[str, list[Timing]]]:
    """Builds and checks ours and others of a shape, and times them in turn.

    Raises:
        RuntimeError: a loss of ours is not finite after its steps, so that its time means nothing.
    """
    images = faces(shape.n_initial, shape.size, device)
    ours = (*OURS, *CAPTURED) if device.type == "cuda" else OURS
    found: list[Contender] = []
    for one in (*ours, *others):
        step = partial(training_step, captured=one.captured)
        found += entered([one], shape, images, lambda model, x, step=step: step(model.train(), x), report.CONSOLE.print)
    timings = alternate({one.implementation.name: one.run for one in found}, repeats, device, seconds)
    diverged = [one for one in found if not one.model.loss(images[: shape.batch]).isfinite()]
    for one in diverged:
        message = f"{one.implementation.name}: the loss is not finite after the steps that were timed"
        if one.implementation.is_ours:
            raise RuntimeError(message)
        report.CONSOLE.print(f"{message}: left out")
    return [one for one in found if one not in diverged], timings


def required(
    shape: Shape, timings: Mapping[str, list[Timing]], fastest: Mapping[str, str]
) -> list[tuple[Requirement, Quartiles]]:
    """What has to hold for a shape, against the fastest peer of each precision, and what was measured."""
    found = []
    for one in (PLAIN, BF16):
        peer, bounds = fastest.get(one.precision), STEP_BOUNDS.get(shape, {}).get(one.name)
        if peer and bounds:
            name, (must, aim) = one.name, bounds
            what = f"{shape.name}: {name} against the fastest peer, {peer}"
            found.append((Requirement(what, must, aim), ratio(timings, name, peer)))
    reversible = MEMORY.get("reversible")
    if reversible and reversible.name in timings:
        what = f"{shape.name}: {reversible.name} against {PLAIN.name}"
        found.append((Requirement(what, 1.50, 1.35), ratio(timings, reversible.name, PLAIN.name)))
    return found


def main() -> None:
    """Measures, prints tables, and writes train_step.json and train_step.png."""
    arguments = report.timed_parser(__doc__, repeats=9, seconds=2.0).parse_args()
    device, facts = arguments.device, report.start(arguments)
    panels, shapes, found = {}, {}, []
    path = report.timed_file(arguments.output, "train_step", device, ".json")
    content = {"machine": facts, "repeats": arguments.repeats, "shapes": shapes, "required": []}
    others = peers(arguments.programs)
    for shape in report.shapes(arguments, usual=SHAPES.values()):
        contenders, timings = time_shape(shape, arguments.repeats, arguments.seconds, device, others)
        fastest = fastest_peers(contenders, timings)
        title = f"{shape.name}, {shape.coupling}, batch {shape.batch}"
        panels[title] = report.rows(contenders, timings, fastest, shape.batch)
        report.show(title, panels[title], device)
        shapes[title] = {"fastest_peers": fastest, "rows": [row.facts() for row in panels[title]]}
        report.write(path, content)  # whoever is interrupted has something
        if device.type == "cpu":
            found += required(shape, timings, fastest)
    plot = report.timed_file(arguments.output, "train_step", device, ".png")
    report.plot_ratios(plot, panels, "time of a step, fastest peer of the precision = 1")
    report.write(path, content | {"required": report.verdicts(found)})


if __name__ == "__main__":
    main()
