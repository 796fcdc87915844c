"""What ``glow_app.runtime.malloc`` buys on a CPU: training steps in processes that keep freed memory, and in others.

    python -m benchmarks.heap
    python -m benchmarks.heap --shapes 32-L3-K8-w512 --repeats 3

Each repetition is a fresh process, the two kinds in turn. Beside the time stand the pages that the system had to
provide anew in each step.
"""

import json
import resource
import subprocess
import sys
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from rich.table import Table

from benchmarks import report
from benchmarks.peers import PLAIN, built
from benchmarks.shapes import CELEBA, LARGE, NARROW, SHAPES, WIDE, faces
from benchmarks.timing import Quartiles, measure
from benchmarks.train_step import training_step
from glow_app.runtime.malloc import keep_freed_memory

KEPT, GIVEN_BACK = "kept", "given back"
WARM_UP = 3


def one_process(name: str, kind: str, seconds: float) -> dict[str, float]:
    """CPU seconds and page faults of a step, measured in this process."""
    if kind == KEPT and not keep_freed_memory():
        raise SystemExit("this C library cannot be told to keep freed memory")
    shape, device = SHAPES[name], torch.device("cpu")
    images = faces(shape.n_initial, shape.size, device)
    step = training_step(built(PLAIN, shape, images).train(), images[: shape.batch].clone())
    first = [measure(step, device).wall for _ in range(WARM_UP)]
    runs = max(1, round(seconds / first[-1]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    timing = measure(lambda: [step() for _ in range(runs)], device)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return {"seconds": timing.cpu / runs, "page_faults": faults / runs}


def main() -> None:
    """Measures, prints a table and writes heap.json."""
    options = report.timed_parser(__doc__, repeats=5, seconds=3.0)
    options.add_argument("--one", nargs=2, metavar=("SHAPE", "KIND"), help="measures in this process, prints JSON")
    arguments = options.parse_args()
    if arguments.one:
        torch.set_num_threads(arguments.threads)
        print(json.dumps(one_process(*arguments.one, arguments.seconds)))
        return
    facts = report.start(arguments)
    table = Table("", "freed memory", "ms", "page faults", "against given back (quartiles)", box=None)
    content: dict[str, Any] = {}
    for shape in report.shapes(arguments, usual=(NARROW, WIDE, CELEBA, LARGE)):
        found: dict[str, list[dict[str, float]]] = {GIVEN_BACK: [], KEPT: []}
        for _ in range(arguments.repeats):
            for kind, results in found.items():
                command = [sys.executable, "-m", "benchmarks.heap", "--one", shape.name, kind]
                command += ["--seconds", str(arguments.seconds), "--threads", str(arguments.threads)]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                results.append(json.loads(done.stdout.splitlines()[-1]))
        content[shape.name] = {}
        for kind, results in found.items():
            pairs = zip(results, found[GIVEN_BACK], strict=True)
            against = Quartiles.of(one["seconds"] / other["seconds"] for one, other in pairs)
            seconds, faults = (median(one[key] for one in results) for key in ("seconds", "page_faults"))
            table.add_row(shape.name, kind, f"{1000 * seconds:,.1f}", f"{faults:,.0f}", str(against))
            content[shape.name][kind] = {
                "seconds": seconds, "page_faults": faults, "against_given_back": asdict(against),
            }  # fmt: skip
    report.CONSOLE.print(table)
    content = {"machine": facts, "repeats": arguments.repeats, "shapes": content}
    report.write(report.timed_file(arguments.output, "heap", arguments.device, ".json"), content)


if __name__ == "__main__":
    main()
