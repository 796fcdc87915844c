"""Freed memory stays with the process where the C library can be told to keep it."""

import ctypes
import resource
import subprocess
import sys

import pytest

from glow_app.runtime.malloc import keep_freed_memory

HAS_MALLOPT = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt")

BLOCKS = """
import resource, sys
import torch
from glow_app.runtime.malloc import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
for _ in range(20):  # where the block ends up settles, mostly after seven
    torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(kind: str) -> int:
    """Of filling 64 MiB, which are then freed, ten times over, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", BLOCKS, kind], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(not HAS_MALLOPT, reason="needs glibc")
def test_memory_that_was_freed_is_there_for_the_next_step() -> None:
    once = 64 * 2**20 // resource.getpagesize()
    assert page_faults("give back") >= 10 * once
    # Not none: an aligned block needs a little more room than the one before it left.
    assert page_faults("keep") <= 5 * once


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not keep_freed_memory()
