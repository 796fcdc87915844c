"""How much memory a training step needs beyond parameters, optimiser and gradients: counted, not estimated.

Torch's profiler records every allocation and release with its address, size and time. What is live at an instant is
therefore exact, free of what an allocator keeps for itself and of what threads and libraries cost, and reproducible to
the byte. An allocation that ends as a parameter's gradient is counted as a gradient from its first byte on.
The resident size of the process, next to it, is the cross-check.
"""

import ctypes
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile


@dataclass(frozen=True)
class Allocation:
    """One event: ``size`` bytes at ``address``, negative when they are released."""

    time: int
    address: int
    size: int


def allocations(roots: Iterable[Any]) -> list[Allocation]:
    """Those of a profile on a CPU, in the order of time."""
    found = [
        Allocation(event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size)
        for event in walk(roots)
        if event.tag == _EventType.Allocation and event.extra_fields.device.type == "cpu"
    ]
    return sorted(found, key=lambda allocation: allocation.time)


def walk(roots: Iterable[Any]) -> Iterator[Any]:
    """Every event of a profile's tree."""
    waiting = list(roots)
    while waiting:
        event = waiting.pop()
        waiting.extend(event.children)
        yield event


def peak(events: Iterable[Allocation], gradients: Iterable[int]) -> int:
    """Most bytes that were live at once, those not counted that end at one of the addresses ``gradients``."""
    events, wanted = list(events), set(gradients)
    # An address is used over and over: its last allocation is the gradient.
    last = {event.address: number for number, event in enumerate(events) if event.size > 0}
    kept = {last[address] for address in wanted if address in last}
    ours: dict[int, int] = {}
    live = highest = 0
    for number, event in enumerate(events):
        if event.size > 0:
            if number not in kept:
                ours[event.address] = event.size
                live += event.size
        else:
            # What was released without having been allocated here stood before.
            live -= ours.pop(event.address, 0)
        highest = max(highest, live)
    return highest


def activation_bytes(task: Callable[[], object], model: nn.Module) -> int:
    """Most bytes that ``task``, a forward and backward pass on a CPU, has live at once, its gradients not counted."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        task()
    gradients = [p.grad.untyped_storage().data_ptr() for p in model.parameters() if p.grad is not None]
    tree = profiled.profiler.kineto_results.experimental_event_tree()  # type: ignore[union-attr]
    return peak(allocations(tree), gradients)


def resident_growth(task: Callable[[], object]) -> int | None:
    """Peak of the resident size during ``task`` beyond what stood before, in bytes; None where there is no /proc.

    The system's allocator returns what is free only in a process that has ``STEADY_ALLOCATOR`` in its environment.
    """
    refs = Path("/proc/self/clear_refs")
    if not refs.exists():
        return None
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = status("VmRSS")
    refs.write_text("5")  # the peak starts anew
    task()
    return status("VmHWM") - before


def status(field: str) -> int:
    """A line of /proc/self/status, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {field}")


STEADY_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0", "MALLOC_ARENA_MAX": "1"}
"""Environment in which glibc maps every block from 64 KiB on by itself and returns it at once."""

QUIET_PROFILER = {"KINETO_LOG_LEVEL": "99"}
"""Environment in which the profiler keeps its own diary to itself."""
