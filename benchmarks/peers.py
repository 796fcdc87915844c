"""Who is compared: Glow as different libraries have it, all of the same L, K, width and batch.

What had to be chosen for a library is in its ``settings``; whether the result is a Glow, a :class:`Check` says.
"""

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.models import FreiaGlow, Model, NflowsGlow, OurGlow, UnderAutocast, ants_glow, normflows_glow
from benchmarks.programs import AFFINE_ONLY, PROGRAMS
from benchmarks.shapes import Shape
from glow_app.flows.memory import MEMORY_MODES

PLAUSIBLE_BITS = (5.5, 8.0)
"""Bits/dim of a Glow that has been initialised from natural-ish images of 8 bits and not trained."""

SAME_CLASS = 0.15
"""By how much a parameter count may differ from ours without a note on why."""


BOTH_COUPLINGS = ("affine", "additive")


@dataclass(frozen=True)
class Implementation:
    """How to build one library's Glow.

    Attributes:
        name: as the tables have it.
        settings: what was chosen, and how it differs from the paper's Glow.
        build: constructor.
        package: what has to be installed; None for what is ours, and for programs from GitHub.
        couplings: those that the library has.
        captured: whether training steps are captured and replayed, as with ``trainer.cuda_graph``.
        samples_on: devices on which it can sample.
        precision: ``fp32``, or ``bf16``: then compared with those of that precision alone.
        layouts: memory layouts of images and weights; the faster one is taken. Ours choose theirs themselves.
    """

    name: str
    settings: str
    build: Callable[[Shape], Model] = field(repr=False)
    package: str | None = None
    couplings: tuple[str, ...] = BOTH_COUPLINGS
    captured: bool = False
    samples_on: tuple[str, ...] = ("cpu", "cuda")
    precision: str = "fp32"
    layouts: tuple[torch.memory_format, ...] = (torch.contiguous_format,)

    @property
    def is_ours(self) -> bool:
        return self.name.startswith("glow_app ")

    def offers(self, shape: Shape) -> bool:
        """Whether it is installed and has what ``shape`` asks for."""
        return shape.coupling in self.couplings and (self.package is None or find_spec(self.package) is not None)


PLAIN = Implementation("glow_app fp32", "bounded scale, border channel", lambda s: OurGlow(s, None, "plain"))
BF16 = Implementation(
    "glow_app bf16", "bfloat16 conditioners", lambda s: OurGlow(s, torch.bfloat16, "plain"), precision="bf16"
)
MEMORY = {
    memory: Implementation(f"glow_app {memory}", f"memory={memory}", lambda s, m=memory: OurGlow(s, None, m))
    for memory in ("checkpoint", "reversible")
    if memory in MEMORY_MODES
}
OURS = (PLAIN, BF16, *MEMORY.values())
CAPTURED = tuple(
    replace(one, name=f"{one.name}, cuda_graph", settings=f"{one.settings}, cuda_graph=true", captured=True)
    for one in (PLAIN, BF16)
)
"""Ours as well, on a GPU."""

LIBRARIES = (
    Implementation(
        "normflows",
        "GlowBlock, MultiscaleFlow and GlowBase as in its Glow example; no ActNorm in the conditioner (its default), "
        "LU 1x1 convolution, no split prior",
        normflows_glow,
        package="normflows",
    ),
    Implementation(
        "antsnormflows",
        "fork of normflows: GlowBlock2d, which bounds every scale and clamps every output, with ActNorm in the "
        "conditioner (its default); no split prior; grad_checkpoint=False, the faster",
        lambda shape: ants_glow(shape, False),
        package="antsnormflows",
    ),
    Implementation(
        "nflows",
        "ActNorm, OneByOneConvolution (LU, using_cache=True for sampling), coupling with our three plain layers, "
        "MultiscaleCompositeTransform, StandardNormal; no split prior",
        NflowsGlow,
        package="nflows",
        samples_on=("cpu",),  # its inverse mixes tensors of both devices
    ),
    Implementation(
        "FrEIA",
        "AllInOneBlock(permute_soft=True) with our three plain layers: the rotation is fixed, not learned; GraphINN "
        "with splits; its affine initialised as an ActNorm; no split prior; no additive coupling of one half",
        FreiaGlow,
        package="FrEIA",
        couplings=("affine",),
    ),
)

BOTH = (torch.contiguous_format, torch.channels_last)


def peers(programs: Path | None) -> list[Implementation]:
    """The libraries and, from a folder of checkouts, the programs; each in float32 and under autocast."""
    found = [replace(one, layouts=BOTH) for one in LIBRARIES]
    if programs is not None:
        for name, build in PROGRAMS.items():
            if (programs / name).is_dir():
                settings = " ".join((build.__doc__ or "").split()).partition(": ")[2]
                coupled = ("affine",) if name in AFFINE_ONLY else BOTH_COUPLINGS
                found.append(Implementation(name, settings, partial(build, programs), None, coupled, layouts=BOTH))
    return [*found, *map(under_autocast, found)]


def under_autocast(one: Implementation) -> Implementation:
    """The same implementation with ``torch.autocast`` to bfloat16."""
    return replace(
        one,
        name=f"{one.name} bf16",
        settings=f"{one.settings}; torch.autocast",
        build=lambda shape: UnderAutocast(one.build(shape)),
        precision="bf16",
    )


CHECKPOINTED_PEER = Implementation(
    "antsnormflows checkpoint",
    "as antsnormflows, with grad_checkpoint=True, its default from 11 steps a level on",
    lambda shape: ants_glow(shape, True),
    package="antsnormflows",
)


@dataclass(frozen=True)
class Check:
    """Whether a model is a Glow of the size that was asked for.

    Attributes:
        n_parameters: learned numbers.
        share: ``n_parameters`` over that of our own.
        bits: bits/dim after the initialisation from data.
    """

    n_parameters: int
    share: float
    bits: float

    @property
    def verdict(self) -> str:
        """``ok``, or what is unusual."""
        low, high = PLAUSIBLE_BITS
        unusual = []
        if abs(self.share - 1) > SAME_CLASS:
            unusual.append("another number of parameters")
        if not low <= self.bits <= high:
            unusual.append(f"bits/dim outside of {low} ... {high}")
        return ", ".join(unusual) or "ok"


def check(model: Model, x: Tensor) -> Check:
    """Counts parameters and computes bits/dim of an initialised model.

    Raises:
        ValueError: the log-likelihood is not finite.
    """
    with torch.no_grad():
        bits = model.loss(x).item()
    if not math.isfinite(bits):
        raise ValueError(f"{type(model).__name__}: log-likelihood after initialisation is {bits}")
    with torch.device("meta"):
        ours = OurGlow(model.shape, None, "plain")
    counts = [sum(p.numel() for p in m.parameters() if p.requires_grad) for m in (model, ours)]
    return Check(counts[0], counts[0] / counts[1], bits)


def built(
    implementation: Implementation, shape: Shape, images: Tensor, layout: torch.memory_format = torch.contiguous_format
) -> Model:
    """A model on the device of ``images``, initialised with them: the same random numbers for every implementation."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002 - FrEIA draws its rotations from numpy's global generator
    # Ours on its device from the start, which saves a deep model's time there; not every peer can.
    with images.device if implementation.package is None else nullcontext():
        model = implementation.build(shape).to(images.device)
    model.initialize(images)
    return model.to(memory_format=layout)
