"""Memory that a process has freed and is about to need again.

glibc gives a large block back to the system as soon as it is freed. Computing on a CPU, each step frees its activations
and the next one asks for the same blocks, page by page: a tenth of a training step may go into that
(``python -m benchmarks.heap``). On a GPU torch keeps freed memory itself.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""The numbers that glibc's malloc.h gives to its settings."""

NEVER = -1


def keep_freed_memory() -> bool:
    """Lets this process keep what it frees, from now on and until it ends.

    Returns:
        Whether the C library can do so: glibc, and so Linux.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    # No block is mapped by itself, to be unmapped when it is freed, and the heap never shrinks.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
