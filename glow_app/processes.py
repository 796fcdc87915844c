"""Several processes that share one piece of work, as ``torchrun`` starts them; with one process, nothing happens."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

S = TypeVar("S")
T = TypeVar("T")


@contextmanager
def joined() -> Iterator[None]:
    """Inside, the processes of one ``torchrun`` know of each other."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    dist.init_process_group("gloo")  # sums and lists on the CPU, at the end of the work: speed does not matter
    try:
        yield
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Number of this process among those of its machine: which GPU is its own."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def is_first() -> bool:
    """Whether this is the process that speaks and writes files."""
    return rank() == 0


def share(items: Sequence[S]) -> Sequence[S]:
    """This process's part: process r of n takes numbers r, r + n, r + 2n, ..."""
    return items[rank() :: world_size()]


def gathered(part: T) -> list[T]:
    """What each process has, by rank, known to all."""
    if not dist.is_initialized():
        return [part]
    parts: list[T | None] = [None] * world_size()
    dist.all_gather_object(parts, part)
    return parts  # type: ignore[return-value]


def interleaved(part: Tensor) -> Tensor:
    """The rows of all processes, each of which has those of its :func:`share`, in their order: known to all."""
    parts = gathered(part)
    whole = torch.empty(sum(len(p) for p in parts), *part.shape[1:], dtype=part.dtype)
    for number, rows in enumerate(parts):
        whole[number :: len(parts)] = rows
    return whole
