"""Activation memory of a training step against the number of steps of flow, ours in its modes beside the peers.

    python -m benchmarks.memory                  # 32x32, L3, width 128, batch 16 at K = 8, 16, 32, 64
    python -m benchmarks.memory --device cuda
    python -m benchmarks.memory --published      # one training step of the paper's 256x256 model, within 24 GB

Every point is a fresh process. What counts is what torch has allocated at most beyond parameters, optimiser state and
gradients (benchmarks/allocations.py); beside it stands by how much the process grew, gradients included.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch
from rich.table import Table

from benchmarks import report
from benchmarks.allocations import QUIET_PROFILER, STEADY_ALLOCATOR, activation_bytes, resident_growth, status
from benchmarks.peers import CHECKPOINTED_PEER, LIBRARIES, MEMORY, PLAIN, built
from benchmarks.report import CONSOLE
from benchmarks.shapes import DEEP, PUBLISHED_FACES, faces
from benchmarks.timing import Quartiles, Requirement
from benchmarks.train_step import training_step

DEPTHS = (8, 16, 32, 64)
KEPT = {one.name: one for one in (PLAIN, *MEMORY.values(), *LIBRARIES, CHECKPOINTED_PEER)}
LIMIT = 24 * 10**9


def measure_point(name: str, depth: int, device: torch.device) -> dict[str, int | None]:
    """Bytes of one implementation at one depth. For a fresh process."""
    shape = replace(DEEP, n_steps=depth)
    images = faces(shape.n_initial, shape.size, device)
    model = built(KEPT[name], shape, images).train()
    x = images[: shape.batch].clone()
    step = training_step(model, x)
    for _ in range(2):  # optimiser state exists, kernels are built
        step()

    def task() -> None:
        model.loss(x).backward()

    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        task()
        peak, grown = torch.cuda.max_memory_allocated(device), None
    else:
        grown, peak = resident_growth(task), None
        model.zero_grad()
        activations = activation_bytes(task, model)
    gradients = sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    return {
        "activation_bytes": activations if peak is None else peak - before - gradients,
        "gradient_bytes": gradients,
        "resident_growth_bytes": grown,
        "peak_allocated_bytes": peak,
    }


def measure_published(memory: str, device: torch.device) -> dict[str, float]:
    """One training step of the paper's 256x256 model: forward, backward and Adam update. For a fresh process."""
    images = faces(PUBLISHED_FACES.n_initial, PUBLISHED_FACES.size, device)
    model = built(MEMORY[memory], PUBLISHED_FACES, images).train()
    step = training_step(model, images[:1].clone())
    if device.type == "cuda":
        step()
        torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    loss = step().item()
    seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else status("VmHWM")
    return {"seconds": seconds, "peak_bytes": peak, "bits_per_dim": loss}


def fresh(arguments: argparse.Namespace, *point: str) -> dict[str, float]:
    """A measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.memory", "--device", str(arguments.device)]
    command += ["--threads", str(arguments.threads), *point]
    environment = os.environ | STEADY_ALLOCATOR | QUIET_PROFILER
    answer = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True).stdout
    return json.loads(answer.splitlines()[-1])


def published(arguments: argparse.Namespace, facts: dict[str, object]) -> None:
    """The paper's 256x256 model in each mode that saves memory."""
    found = {}
    table = Table("", "peak, GB", "seconds", "bits/dim", "within 24 GB", box=None)
    for memory in arguments.modes:
        found[memory] = point = fresh(arguments, "--published-point", memory)
        numbers = f"{point['peak_bytes'] / 1e9:.2f}", f"{point['seconds']:.1f}", f"{point['bits_per_dim']:.2f}"
        table.add_row(f"memory={memory}", *numbers, "yes" if point["peak_bytes"] <= LIMIT else "NO")
    what = "peak allocated" if arguments.device.type == "cuda" else "peak resident size of the process"
    CONSOLE.print(f"256x256, L6, K32, width 512, additive, batch 1: forward, backward and Adam update; {what}")
    CONSOLE.print(table)
    path = report.file(arguments.output, "memory_published", arguments.device, ".json")
    report.write(path, {"machine": facts, "modes": found})


def required(points: dict[str, dict[int, dict[str, float]]]) -> list[tuple[Requirement, Quartiles]]:
    """What has to hold, as far as it was measured. The figures are counts: they have no quartiles."""
    reversible = points.get("glow_app reversible", {})
    plain = points[PLAIN.name]
    if not {8, 64} <= reversible.keys() & plain.keys():
        return []
    most, least, kept = (p["activation_bytes"] for p in (reversible[64], reversible[8], plain[64]))
    return [
        (Requirement("reversible: activations at K=64 over K=8", 1.05, 1.00), Quartiles.of([most / least])),
        (Requirement("activations at K=64: reversible over plain", 1 / 25, 1 / 50), Quartiles.of([most / kept])),
    ]


def against_depth(arguments: argparse.Namespace, facts: dict[str, object]) -> None:
    """All implementations at all depths."""
    points: dict[str, dict[int, dict[str, float]]] = {}
    heads = [f"K={depth}" for depth in arguments.depths]
    table = Table("activations, MiB (growth of the process)", *heads, box=None)
    for name, one in KEPT.items():
        if not one.offers(DEEP):
            continue
        with ThreadPoolExecutor(arguments.processes) as pool:
            found = pool.map(lambda depth, name=name: fresh(arguments, "--point", name, str(depth)), arguments.depths)
            points[name] = dict(zip(arguments.depths, found, strict=True))
        cells = []
        for point in points[name].values():
            grown = point["resident_growth_bytes"] or point["peak_allocated_bytes"]
            cells.append(f"{point['activation_bytes'] / 2**20:.1f} ({(grown or 0) / 2**20:.0f})")
        table.add_row(name, *cells)
    CONSOLE.print(f"{DEEP.size}x{DEEP.size}, L{DEEP.n_levels}, width {DEEP.width}, batch {DEEP.batch}")
    CONSOLE.print(table)
    plot(arguments, points)
    content = {"machine": facts, "points": points, "required": report.verdicts(required(points))}
    report.write(report.file(arguments.output, "memory", arguments.device, ".json"), content)


def plot(arguments: argparse.Namespace, points: dict[str, dict[int, dict[str, float]]]) -> None:
    """Memory against depth."""
    figure, axis = report.plt.subplots(figsize=(7, 4))
    for name, by_depth in points.items():
        mebibytes = [point["activation_bytes"] / 2**20 for point in by_depth.values()]
        axis.plot(list(by_depth), mebibytes, "o-" if name.startswith("glow_app") else "s:", label=name, markersize=4)
    axis.set(xscale="log", yscale="log", xlabel="steps of flow per level, K", ylabel="activations of a step, MiB")
    axis.set_xticks(arguments.depths, [str(depth) for depth in arguments.depths])
    axis.minorticks_off()
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    report.save(figure, report.file(arguments.output, "memory", arguments.device, ".png"))


def main() -> None:
    """Measures, prints tables, and writes memory.json and memory.png, or memory_published.json."""
    options = report.parser(__doc__)
    options.add_argument("--depths", nargs="*", type=int, default=DEPTHS, help="K")
    options.add_argument("--processes", type=int, default=1, help="points at once: bytes are counted, not timed")
    options.add_argument("--published", action="store_true", help="the paper's 256x256 model instead")
    options.add_argument("--modes", nargs="*", choices=MEMORY, default=list(MEMORY), help="for --published")
    options.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    options.add_argument("--published-point", help=argparse.SUPPRESS)
    arguments = options.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.point:
        print(json.dumps(measure_point(arguments.point[0], int(arguments.point[1]), arguments.device)))
        return
    if arguments.published_point:
        print(json.dumps(measure_published(arguments.published_point, arguments.device)))
        return
    (published if arguments.published else against_depth)(arguments, report.start(arguments))


if __name__ == "__main__":
    main()
