"""The choice between Triton kernels and torch for a tensor."""

import functools
import warnings
from types import ModuleType

import torch
from torch import Tensor

INDEXED = 2**27
"""Upper limit of a tensor's size: kernels index in 32 bits, and their output may be 16 times as large."""


def kernels_for(x: Tensor) -> ModuleType | None:
    """Returns :mod:`glow_app.flows.fast.triton_kernels` if ``x`` is on a GPU for which Triton can build them.

    None under ``torch.compile``, which generates its own kernels, and if another GPU is current: Triton launches there.
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
    except Exception as error:  # any error: everything works without kernels
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        warnings.warn(
            f"Triton cannot build kernels here ({reason}): training takes longer; it needs a C compiler, such as gcc",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    return triton_kernels
