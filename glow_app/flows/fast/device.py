"""Whether there are kernels of our own for a tensor."""

import functools
import warnings
from types import ModuleType

import torch
from torch import Tensor

INDEXED = 2**27
"""A tensor has to have fewer numbers: kernels count in 32 bits, and may make up to 16 times as many of it."""


def kernels_for(x: Tensor) -> ModuleType | None:
    """:mod:`glow_app.flows.fast.triton_kernels`, if ``x`` lies on a GPU for which Triton can build them.

    A compiler makes its own. Triton launches on the GPU that is current.
    """
    if not x.is_cuda or torch.compiler.is_compiling() or x.numel() >= INDEXED:
        return None
    if x.get_device() != torch.cuda.current_device():
        return None
    return _kernels()


@functools.cache
def _kernels() -> ModuleType | None:
    try:
        from glow_app.flows.fast import triton_kernels

        triton_kernels.patches(torch.zeros(1, 1, 1, 1, device="cuda"), 9, None)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever it is, everything works without them
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"Triton cannot build kernels here ({reason}): training takes longer; it wants a C compiler, such as gcc",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return triton_kernels
