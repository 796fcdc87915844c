"""Keeps freed memory in the process, for reuse.

glibc returns a large block to the system as soon as it is freed. On a CPU, each step frees its activations and the next
one requests the same blocks, page by page: this can take a tenth of a training step (``python -m benchmarks.heap``).
On a GPU, torch itself caches freed memory.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Numbers of the settings in glibc's malloc.h."""

NEVER = -1


def keep_freed_memory() -> bool:
    """Makes this process keep the memory that it frees, until it ends.

    Returns:
        whether the C library supports it: glibc, and so Linux.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    # No block is mapped by itself, since free() would unmap it, and the heap never shrinks.
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
