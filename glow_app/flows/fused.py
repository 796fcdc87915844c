"""Whether there are kernels of our own for a tensor."""

import functools
from types import ModuleType

import torch
from torch import Tensor

INDEXED = 2**31
"""They count numbers in 32 bits."""


def kernels_for(x: Tensor) -> ModuleType | None:
    """:mod:`glow_app.flows.kernels`, if ``x`` lies on a GPU and Triton, which comes with torch for it, is there.

    A compiler makes its own.
    """
    if not x.is_cuda or torch.compiler.is_compiling() or x.numel() >= INDEXED:
        return None
    return _kernels()


@functools.cache
def _kernels() -> ModuleType | None:
    try:
        from glow_app.flows import kernels
    except ImportError:
        return None
    return kernels
