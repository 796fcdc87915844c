"""The divergence of a flow from the one that it was distilled from, and the speeds of their samples.

Van den Oord et al. 2018, "Parallel WaveNet": a student whose samples are fast learns the density of a teacher whose
samples are slow, by samples of the student alone. It knows their density, and the teacher says theirs.
"""

import math
import time
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from glow_app.evaluation.likelihood import standard_error
from glow_app.flows import Flow
from glow_app.latents.sampling import GROUP
from glow_app.units import Bits, with_error

FIRST = 2**48
"""Number of the first sample that is measured: training never gets there."""

SECONDS, ROUNDS = 1.0, 3
"""Sampling is timed for so long, and at least so many times."""


class Density(Protocol):
    """A density that a student learns: the part of a flow that training asks for."""

    def log_prob(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """Returns log p(x) in nats, (B,)."""
        ...


def log_ratios(
    student: Flow,
    teacher: Density,
    n: int,
    seed: int,
    first: int = 0,
    temperature: float = 1.0,
    weight: float = 1.0,
) -> Tensor:
    """Computes ``log q(x) - log p(x)`` in nats, (n,), for samples ``x`` of the student q, p being the teacher.

    Their mean is an estimate of the Kullback-Leibler divergence KL(q || p) without bias. It is differentiable, through
    the samples too. Both are densities of continuous ``x``: nothing is rounded. Classes take turns.

    Args:
        student: flow whose ``inverse_with_logdet`` is fast.
        teacher: flow of the same shape and classes, or another density.
        n: number of samples.
        seed: seed of the latents.
        first: number of the first sample.
        temperature: factor of the latents.
        weight: factor of ``log p``; below 1 while it is annealed (Rezende & Mohamed 2015, sec. 6).
    """
    latents = student.sample_latents(n, temperature, seed, first)
    cond = classes(student, n, first)
    x, logdet = student.inverse_with_logdet(latents, cond)
    return student.base.log_prob(latents) - logdet - weight * teacher.log_prob(x, cond)


def classes(flow: Flow, n: int, first: int = 0) -> Tensor | None:
    """The classes of samples ``first`` ... ``first + n - 1``, in turn, int64 (n,); None for an unconditional flow."""
    if not flow.n_classes:
        return None
    return torch.arange(first, first + n, device=flow.initialized.device) % flow.n_classes


@dataclass(frozen=True)
class Distilled:
    """The divergence and the speeds that distillation has reached.

    Attributes:
        nats: ``log q - log p`` of samples of the student, float64 (N,).
        n_dims: D, numbers of a sample.
        student: samples per second of the student.
        teacher: samples per second of the teacher.
        together: samples that were drawn at a time.
    """

    nats: Tensor
    n_dims: int
    student: float
    teacher: float
    together: int

    @property
    def divergence(self) -> float:
        """KL(student || teacher) in nats."""
        return self.nats.mean().item()

    @property
    def error(self) -> float:
        """The standard error of :attr:`divergence`."""
        return standard_error(self.nats)

    @property
    def speedup(self) -> float:
        """Samples of the student in the time of one of the teacher."""
        return self.student / self.teacher

    def metrics(self) -> dict[str, float]:
        """The figures, for the card of a model."""
        return {
            "distillation/kl_nats": self.divergence,
            "distillation/standard_error": self.error,
            "distillation/student_per_second": self.student,
            "distillation/teacher_per_second": self.teacher,
        }

    def text(self, n_bits: Bits) -> str:
        """Formats the figures in two lines.

        Args:
            n_bits: bits per subpixel; None for points.
        """
        one, things, name, unit = (
            ("point", "points", "nats", 1.0) if n_bits is None else ("image", "images", "bits", math.log(2))
        )
        each = self.n_dims * unit
        return (
            f"KL(student || teacher): {with_error(self.divergence, self.error)} nats/{one}, "
            f"{with_error(self.divergence / each, self.error / each)} {name}/dim, of {len(self.nats):,} samples\n"
            f"{things}/s, {self.together:,} at a time: student {_speed(self.student)}, teacher {_speed(self.teacher)}, "
            f"{self.speedup:,.3g} times as fast"
        )


def _speed(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


@torch.no_grad()
def measure_distilled(student: Flow, teacher: Flow, n: int, seed: int, batch_size: int) -> Distilled:
    """Measures a student, in evaluation mode, beside its teacher on the same device.

    Sampling is timed in groups of 16 images, as ``glow-sample`` draws them, or of ``batch_size`` points.

    Args:
        student: the flow that was distilled.
        teacher: the flow that it was distilled from.
        n: samples for the divergence.
        seed: seed of their latents.
        batch_size: samples of which densities are computed at a time.
    """
    parts = [
        log_ratios(student, teacher, min(batch_size, n - done), seed, FIRST + done).double().cpu()
        for done in range(0, n, batch_size)
    ]
    together = batch_size if student.n_dims == 2 else GROUP
    ours, theirs = (samples_per_second(flow, together) for flow in (student, teacher))
    return Distilled(torch.cat(parts), student.n_dims, ours, theirs, together)


def samples_per_second(flow: Flow, n: int) -> float:
    """Measures how many samples a flow draws per second, ``n`` at a time, by the median time of some draws."""
    cond, times = classes(flow, n), []
    flow.sample(n, cond=cond).cpu()  # memory is allocated, weights are packed
    while len(times) < ROUNDS or sum(times) < SECONDS:
        start = time.perf_counter()
        flow.sample(n, cond=cond).cpu()
        times.append(time.perf_counter() - start)
    return n / sorted(times)[len(times) // 2]
