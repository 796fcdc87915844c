"""Which processor this is, and how fast: results of different ones are kept side by side, never mixed."""

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional as F

from glow_app.runtime import devices

VENDORS = {"AuthenticAMD": "amd", "GenuineIntel": "intel", "ARM": "arm", "Apple": "apple"}

SETS = ("amx_tile", "avx512_bf16", "avx512f", "avx2", "asimd")
"""Instruction sets, the best first."""

SECONDS = 0.15
"""For which each rate is measured, at least."""


def kind() -> str:
    """Vendor, family and best instruction set, for names of files: ``intel_6_amx``, ``amd_25_avx512_bf16``."""
    text = _cpuinfo()
    facts = dict(line.split(":", 1) for line in reversed(text.splitlines()) if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    vendor = next((name for word, name in VENDORS.items() if word in text), platform.machine() or "cpu")
    flags = facts.get("flags", facts.get("Features", "")).split()
    best = next((name for name in SETS if name in flags), "").removesuffix("_tile").removesuffix("f")
    return "_".join(part for part in (vendor, facts.get("cpu family", ""), best) if part)


def name() -> str:
    """As the system calls it, and its kind."""
    return f"{devices.processor() or platform.machine()} ({kind()})"


def rates() -> dict[str, float]:
    """Measures GFLOP/s, a second of CPU time, of large matrix products and a 3x3 convolution: about a second."""
    n, channels, side = 1024, 256, 16
    a, b = torch.randn(n, n), torch.randn(n, n)
    half_a, half_b = a.bfloat16(), b.bfloat16()
    x = torch.randn(16, channels, side, side).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3).contiguous(memory_format=torch.channels_last)
    product, convolution = 2 * n**3, 2 * 9 * channels**2 * side**2 * len(x)
    return {
        "fp32 product": _rate(lambda: a @ b, product),
        "fp32 convolution": _rate(lambda: F.conv2d(x, weight, padding=1), convolution),
        "bf16 product": _rate(lambda: half_a @ half_b, product),
    }


def _rate(task: Callable[[], object], operations: int) -> float:
    task()
    runs, start = 0, time.process_time()  # CPU time of all threads, whatever else the machine does
    while (seconds := time.process_time() - start) < SECONDS or not runs:
        task()
        runs += 1
    return round(runs * operations / seconds / 1e9, 1)


def _cpuinfo() -> str:
    path = Path("/proc/cpuinfo")
    return path.read_text() if path.exists() else ""
