"""Training steps: forward, backward and Adam update, ours beside the peers.

    python -m benchmarks.train_step                                  # all shapes that suit a processor
    python -m benchmarks.train_step --shapes 32-L3-K8-w128 --repeats 5
    python -m benchmarks.train_step --device cuda                    # the published shapes as well

All use torch.optim.Adam(fused=True), the same images and their own defaults; ActNorm is initialised before the timing.
"""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from benchmarks import report
from benchmarks.models import Model
from benchmarks.peers import BF16, CAPTURED, MEMORY, OURS, PEERS, PLAIN, Check, Implementation, built, check
from benchmarks.shapes import DEEP, NARROW, SHAPES, WIDE, Shape, faces
from benchmarks.timing import Quartiles, Requirement, Timing, alternate, fastest, ratio
from glow_app.data.stream import Batch
from glow_app.training.fast.cuda_graph import CapturedAdam, CapturedLoss
from glow_app.training.optim import largest_first

LEARNING_RATE = 1e-5
"""Small: hundreds of steps on one batch must not carry a model to where numbers are not finite."""


STEP_BOUNDS = {
    NARROW: {PLAIN.name: (0.90, 0.75), BF16.name: (0.70, 0.55)},
    DEEP: {PLAIN.name: (0.90, 0.75), BF16.name: (0.70, 0.55)},
    WIDE: {PLAIN.name: (1.00, 0.85), BF16.name: (0.65, 0.50)},
}
"""What has to hold on a CPU against the fastest peer, and what is aimed for."""


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
    shape: Shape, repeats: int, seconds: float, device: torch.device
) -> tuple[dict[Implementation, Check], dict[str, list[Timing]]]:
    """Builds and checks all implementations of a shape, and times them in turn.

    Raises:
        RuntimeError: a model's loss is not finite after its steps, so that its time means nothing.
    """
    images = faces(shape.n_initial, shape.size, device)
    ours = (*OURS, *CAPTURED) if device.type == "cuda" else OURS
    models = {one: built(one, shape, images) for one in (*ours, *PEERS) if one.offers(shape)}
    checks = {one: check(model, images[: shape.batch]) for one, model in models.items()}
    x = images[: shape.batch].clone()
    tasks = {one.name: training_step(model.train(), x, one.captured) for one, model in models.items()}
    timings = alternate(tasks, repeats, device, seconds)
    for one, model in models.items():
        if not model.loss(x).isfinite():
            raise RuntimeError(f"{one.name}: the loss is not finite after the steps that were timed")
    return checks, timings


def required(
    shape: Shape, timings: Mapping[str, list[Timing]], peer: str | None
) -> list[tuple[Requirement, Quartiles]]:
    """What has to hold for a shape, and what was measured."""
    found = []
    if peer:
        for name, (must, aim) in STEP_BOUNDS.get(shape, {}).items():
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
    path = report.file(arguments.output, "train_step", device, ".json")
    content = {"machine": facts, "repeats": arguments.repeats, "shapes": shapes, "required": []}
    for shape in report.shapes(arguments, usual=SHAPES.values()):
        checks, timings = time_shape(shape, arguments.repeats, arguments.seconds, device)
        peers = [peer.name for peer in PEERS if peer.name in timings]
        peer = fastest(timings, peers) if peers else None
        title = f"{shape.name}, {shape.coupling}, batch {shape.batch}"
        panels[title] = report.rows(checks, timings, peer or PLAIN.name, shape.batch)
        report.show(title, panels[title], device)
        shapes[title] = {"fastest_peer": peer, "rows": [row.facts() for row in panels[title]]}
        report.write(path, content)  # whoever is interrupted has something
        if device.type == "cpu":
            found += required(shape, timings, peer)
    report.plot_ratios(
        report.file(arguments.output, "train_step", device, ".png"), panels, "time of a step, fastest peer = 1"
    )
    report.write(path, content | {"required": report.verdicts(found)})


if __name__ == "__main__":
    main()
