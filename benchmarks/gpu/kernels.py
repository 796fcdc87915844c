"""Profiles training steps of the paper's 256x256 model, and prints one line of JSON.

python -m benchmarks.gpu.kernels --memory plain --batch 4 --graph
python -m benchmarks.gpu.kernels --tiny --device cpu
"""

import argparse
import json
import re
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.models import OurGlow
from benchmarks.shapes import PUBLISHED_FACES, Shape, faces
from benchmarks.train_step import training_step
from glow_app.build import forbid_tf32

TINY = Shape(16, 2, 2, width=8, batch=1, coupling="additive")
WARM_UP, TIMED, PROFILED = 4, 10, 3
MOST = 15

KINDS = {
    "products": re.compile(r"gemm|cutlass|nvjet|xmma|conv|addmm|aten::mm|aten::bmm", re.IGNORECASE),
    "copies": re.compile(r"memcpy|memset|copy|cat|fill", re.IGNORECASE),
    "triton": re.compile(r"triton|glow", re.IGNORECASE),
}
"""By the names of kernels, the first that fits; ``between`` is all else."""


def kind(name: str) -> str:
    """Of a kernel."""
    return next((kind for kind, pattern in KINDS.items() if pattern.search(name)), "between")


def table(events: list[tuple[str, float, int]], steps: int) -> dict[str, Any]:
    """Milliseconds and kernels of a step by kind, and the kernels that take most.

    Args:
        events: name, microseconds and number of calls of each kernel.
        steps: in which they ran.
    """
    by_kind: dict[str, float] = dict.fromkeys([*KINDS, "between"], 0.0)
    for name, microseconds, _ in events:
        by_kind[kind(name)] += microseconds / 1000 / steps
    most = sorted(events, key=lambda event: -event[1])[:MOST]
    return {
        **{f"{name}_ms": round(milliseconds, 3) for name, milliseconds in by_kind.items()},
        "kernels_ms": round(sum(by_kind.values()), 3),
        "kernels": round(sum(calls for _, _, calls in events) / steps),
        "most": [[f"{name:.90}", round(us / 1000 / steps, 3), round(calls / steps)] for name, us, calls in most],
    }


def measure(step: Callable[[], object], device: torch.device, batch: int) -> dict[str, Any]:
    """Time of a step on the clock, then its kernels."""
    cuda = device.type == "cuda"
    wait = torch.cuda.synchronize if cuda else lambda: None
    for _ in range(WARM_UP):
        step()
    wait()
    start = time.perf_counter()
    for _ in range(TIMED):
        step()
    wait()
    seconds = (time.perf_counter() - start) / TIMED
    with profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        for _ in range(PROFILED):
            step()
        wait()
    wanted = DeviceType.CUDA if cuda else DeviceType.CPU
    events = [
        (event.key, event.self_device_time_total if cuda else event.self_cpu_time_total, event.count)
        for event in profiler.key_averages()
        if event.device_type == wanted
    ]
    found = table(events, PROFILED)
    return {
        "step_ms": round(1000 * seconds, 3),
        "images_per_second": round(batch / seconds, 3),
        "waiting_ms": round(1000 * seconds - found["kernels_ms"], 3),
        **found,
        "peak_gb": round(torch.cuda.max_memory_reserved() / 1e9, 3) if cuda else None,
    }


def main() -> None:
    """Prints."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--memory", default="plain", choices=("plain", "checkpoint", "reversible"))
    options.add_argument("--batch", type=int, default=1)
    options.add_argument("--graph", action="store_true", help="steps in a CUDA graph")
    options.add_argument("--device", type=torch.device, default=torch.device("cuda"))
    options.add_argument("--tiny", action="store_true")
    given = options.parse_args()
    forbid_tf32()
    shape = TINY if given.tiny else PUBLISHED_FACES
    images = faces(max(4, given.batch), shape.size, given.device)
    model = OurGlow(shape, torch.bfloat16, given.memory).to(given.device)
    model.initialize(images)
    step = training_step(model.train(), images[: given.batch].clone(), given.graph)
    print(json.dumps(measure(step, given.device, given.batch)))


if __name__ == "__main__":
    main()
