"""Measuring side by side: alternated repetitions, so that a slow moment of the machine meets everybody, and ratios.

On a CPU the cost of a task is CPU time, that of all threads of the process: it does not depend on what else the machine
is doing, as wall-clock time does. On a GPU it is the time between two CUDA events.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles

import torch

WARM_UP = 3
"""Runs of a task before it is timed."""


@dataclass(frozen=True)
class Timing:
    """One repetition of a task.

    Attributes:
        cpu: seconds of CPU time, all threads.
        wall: seconds on the clock.
        gpu: seconds between two CUDA events; None on a CPU.
        peak_bytes: allocated on the GPU at most, beyond what stood there before; None on a CPU.
    """

    cpu: float
    wall: float
    gpu: float | None = None
    peak_bytes: int | None = None

    @property
    def cost(self) -> float:
        """What ratios compare: seconds of the GPU if there is one, else of the CPU."""
        return self.cpu if self.gpu is None else self.gpu


@dataclass(frozen=True)
class Quartiles:
    """Of several repetitions."""

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Quartiles":
        values = list(values)
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*quantiles(values, n=4, method="inclusive"))

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.low:.2f} - {self.high:.2f})"


def measure(task: Callable[[], object], device: torch.device) -> Timing:
    """Runs a task once."""
    if device.type != "cuda":
        cpu, wall = time.process_time(), time.perf_counter()
        task()
        return Timing(time.process_time() - cpu, time.perf_counter() - wall)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    cpu, wall = time.process_time(), time.perf_counter()
    start.record()
    task()
    end.record()
    torch.cuda.synchronize(device)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Timing(cpu, wall, start.elapsed_time(end) / 1000, torch.cuda.max_memory_allocated(device) - before)


def alternate(
    tasks: Mapping[str, Callable[[], object]], repeats: int, device: torch.device, seconds: float
) -> dict[str, list[Timing]]:
    """Runs all tasks in turn, ``repeats`` times over (A B C A B C ...), each after it has been warmed up.

    A repetition is as many runs of a task as take about ``seconds``; what comes back is the share of one run.
    """
    runs = {name: max(1, round(seconds / warmed(task, device).wall)) for name, task in tasks.items()}
    timings: dict[str, list[Timing]] = {name: [] for name in tasks}
    for _ in range(repeats):
        for name, task in tasks.items():
            n = runs[name]
            timings[name].append(per_run(measure(lambda task=task, n=n: [task() for _ in range(n)], device), n))
    return timings


def warmed(task: Callable[[], object], device: torch.device) -> Timing:
    """One run, after others: the first allocate, build kernels, fill caches and, some of them, record."""
    for _ in range(WARM_UP):
        task()
    return measure(task, device)


def per_run(timing: Timing, runs: int) -> Timing:
    """The share of one of several runs."""
    gpu = None if timing.gpu is None else timing.gpu / runs
    return Timing(timing.cpu / runs, timing.wall / runs, gpu, timing.peak_bytes)


def fastest(timings: Mapping[str, list[Timing]], among: Iterable[str]) -> str:
    """The name with the lowest median cost."""
    return min((name for name in among if name in timings), key=lambda name: median(t.cost for t in timings[name]))


def ratio(timings: Mapping[str, list[Timing]], name: str, reference: str) -> Quartiles:
    """Cost of ``name`` over that of ``reference``, repetition by repetition."""
    pairs = zip(timings[name], timings[reference], strict=True)
    return Quartiles.of(timing.cost / other.cost for timing, other in pairs)


@dataclass(frozen=True)
class Requirement:
    """A ratio that has to hold, and the one that is aimed for."""

    what: str
    must: float
    aim: float

    def verdict(self, measured: Quartiles) -> str:
        """``aim``, ``must``, ``missed``, or ``noise forbids a verdict`` where the bound lies between the quartiles."""
        if measured.high <= self.aim:
            return "aim"
        if measured.high <= self.must:
            return "must"
        if measured.low > self.must:
            return "missed"
        return "noise forbids a verdict"
