"""``profile256``: where the time of a training step of the paper's 256x256 model goes, by kernel.

L=6 K=32 width 512, additive, conditioners in bfloat16; with each way to keep memory, in a CUDA graph and without, with
1, 4 and 8 images. Of each: products, what lies between them, copies, launches, memory, and the kernels that take most.
"""

import json
from functools import partial
from typing import Any, NamedTuple

from benchmarks.gpu.work import Plan, Stage, Work


class Way(NamedTuple):
    """How steps run: ``plain`` or ``checkpoint``, in a CUDA graph or not, and with how many images."""

    memory: str
    graph: bool
    batch: int

    @property
    def title(self) -> str:
        return f"{self.memory}{'_graph' if self.graph else ''}_{self.batch}"


WAYS = [
    Way(memory, graph, batch)
    for batch in (1, 4, 8)
    for memory, graph in (("plain", True), ("plain", False), ("checkpoint", True), ("checkpoint", False))
]
TINY = [Way("plain", False, 1), Way("checkpoint", False, 2)]


def profiled(way: Way, work: Work) -> dict[str, Any]:
    """In a process of its own, which frees its memory."""
    options = ["--memory", way.memory, "--batch", str(way.batch), *(["--graph"] if way.graph else [])]
    options += ["--tiny", "--device", "cpu"] if work.rehearsal else ["--device", "cuda"]
    return json.loads(work.command("benchmarks.gpu.kernels", *options, seconds=120).strip().splitlines()[-1])


def stages(ways: list[Way]) -> list[Stage]:
    """One a way."""
    return [Stage(way.title, 25, partial(profiled, way)) for way in ways]


PLAN = Plan(stages(WAYS), stages(TINY))
