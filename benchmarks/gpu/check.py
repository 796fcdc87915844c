"""``check``: the tests that need a GPU, then every benchmark whose figures are missing, of another card, or stale.

What was measured before has the card's name in it, and a ``note`` where the code has changed since.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.gpu.machine import query
from benchmarks.gpu.work import ROOT, Plan, Stage, Work

RESULTS = ROOT / "benchmarks" / "results"


class Benchmark(NamedTuple):
    """One of ``python -m benchmarks.NAME``.

    Attributes:
        module: its name.
        result: of its file.
        limit: seconds.
        options: those that keep it within them.
    """

    module: str
    result: str
    limit: float
    options: tuple[str, ...] = ()


CIFAR, FACES = "32-L3-K32-w512", "256-L6-K32-w512"
QUICK = ("--repeats", "5", "--seconds", "1")

BENCHMARKS = (
    Benchmark("train_step", "train_step", 120, ("--shapes", CIFAR, *QUICK)),
    Benchmark("sample", "sample", 90, ("--shapes", CIFAR, *QUICK)),
    Benchmark("compiled", "compiled", 180, ("--shapes", CIFAR, *QUICK)),
    Benchmark("memory", "memory", 150),
    Benchmark("ceiling", "ceiling", 90),
    Benchmark("accuracy", "accuracy", 90),
    Benchmark("whole_run", "whole_run", 120, ("--shapes", CIFAR, *QUICK)),
    Benchmark("train_step", "train_step", 180, ("--shapes", FACES, *QUICK)),
    Benchmark("memory", "memory_published", 120, ("--published",)),
)

TINY = (Benchmark("train_step", "train_step", 90, ("--shapes", "32-L3-K8-w128", "--repeats", "1", "--seconds", "0")),)


def tests(work: Work) -> dict[str, Any]:
    """Those whose files ask for a GPU; the log has what a run that is cut short has found."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "cuda.is_available" in path.read_text()]
    options = ["-v", "-m", "", "-n", "8", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider"]
    options += ["-p", "no:benchmark"]  # which warns where there are workers, and warnings are errors
    if work.rehearsal:
        options += ["-n", "0", "--collect-only"]
    printed = work.command("pytest", *options, f"--rootdir={ROOT}", *map(str, files), seconds=150)
    return {"said": printed.strip().splitlines()[-1]}


def stale(benchmark: Benchmark, device: str, card: str) -> bool:
    """Whether there is no figure of this card, or one that is known not to hold any more."""
    suffix = "" if device == "cpu" else f"_{device}"
    path = RESULTS / f"{benchmark.result}{suffix}.json"
    if not path.exists():
        return True
    content = json.loads(path.read_text())
    return "note" in content or content["machine"]["gpu"] != card


def measure(benchmark: Benchmark, work: Work) -> dict[str, Any]:
    """What it wrote, whole or so far; ``fresh`` where what there is holds."""
    device, card = ("cpu", "") if work.rehearsal else ("cuda", query("name"))
    if not work.rehearsal and not stale(benchmark, device, card):
        return {"fresh": 1}
    output = work.folder / "results" / title(benchmark)
    module = f"benchmarks.{benchmark.module}"
    try:
        work.command(module, "--device", device, "--output", str(output), *benchmark.options, seconds=benchmark.limit)
    finally:  # some write as they go
        work.results.setdefault("written", {})[title(benchmark)] = written(output)
    return {}


def written(folder: Path) -> dict[str, Any]:
    """Every JSON file of a folder."""
    return {path.name: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def title(benchmark: Benchmark) -> str:
    """Tells two uses of one benchmark apart."""
    return f"{benchmark.result}_256" if FACES in benchmark.options else benchmark.result


def stages(benchmarks: tuple[Benchmark, ...]) -> tuple[Stage, ...]:
    """The tests, and each benchmark."""
    return (Stage("tests", 30, tests), *(Stage(title(b), 30, partial(measure, b)) for b in benchmarks))


PLAN = Plan(stages(BENCHMARKS), stages(TINY))
