"""Processes that share work; in a single process, nothing is communicated."""

# pyright: reportPrivateImportUsage=false
# torch documents its stores and rendezvous under torch.distributed, and does not list them there.

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from glow_app.errors import UserError
from glow_app.runtime.rank import is_child, is_of_srun, rank_info

S = TypeVar("S")
T = TypeVar("T")

DECISION = "GLOW_APP_DECISION"
"""Environment variable that passes a decision of ``glow-train`` to the processes that it starts."""


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that were started together into a process group inside the context.

    Raises:
        UserError: another process has ended, and this one has noticed.
    """
    here = rank_info()
    if here.world_size == 1 or dist.is_initialized():
        yield
        return
    _import_before_group()
    # Sums and lists on the CPU, at the end of the work: speed does not matter.
    dist.init_process_group("gloo", store=_store(), rank=here.rank, world_size=here.world_size)
    try:
        yield
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        raise UserError("another process of this job has ended; its own output shows why") from error
    finally:
        dist.destroy_process_group()


def _import_before_group() -> None:
    """Imports the torch functions that must be imported before there is a process group.

    They have the group of all processes as the default of an argument. Imported later, as other modules do, they would
    hold the group beyond its end: its threads would outlive Python, and might abort a process that has done all its
    work.
    """
    import torch.distributed.nn.functional  # noqa: F401


def broadcast_decision(decide: Callable[[], str]) -> str:
    """Returns the decision of rank 0 on all processes that were started together; needs no process group.

    Processes that this one starts later receive it, too.
    """
    here = rank_info()
    key = f"{DECISION} {next(_decisions)}"  # a sweep decides once for each of its runs
    if is_child():
        return os.environ[DECISION]
    if here.world_size == 1:
        text = decide()
    else:
        if here.rank == 0:
            _store().set(key, decide())
        text = _store().get(key).decode()
    os.environ[DECISION] = text
    return text


def _store() -> dist.Store:
    """The key-value store of the processes: torchrun's, else one on rank 0."""
    global _cached_store
    if _cached_store is None:
        here = rank_info()
        if is_of_srun():
            from lightning_fabric.plugins.environments.slurm import SLURMEnvironment  # reads SLURM's lists of machines

            environment = SLURMEnvironment(auto_requeue=False)
            os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = (
                environment.main_address, str(environment.main_port)
            )  # fmt: skip
        _cached_store = next(dist.rendezvous("env://", here.rank, here.world_size))[0]
    return _cached_store


_cached_store: dist.Store | None = None
_decisions = itertools.count()


def is_lost_connection(error: BaseException) -> bool:
    """Returns whether a collective operation failed because another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in text.lower() or "Connection closed by peer" in text)


def rank() -> int:
    """The rank of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """The rank of this process on its machine, which is the index of its GPU."""
    return rank_info().local_rank


def is_rank_zero() -> bool:
    """Returns whether this is the process that prints and writes files."""
    return rank_info().rank == 0


def require_one(command: str) -> None:
    """Raises a UserError if this is one of several processes, each of which would do the whole work."""
    if rank_info().world_size > 1:
        raise UserError(f"{command} runs in one process; start it without torchrun or srun")


def shard(items: Sequence[S]) -> Sequence[S]:
    """This process's part of ``items``: rank r of n has numbers r, r + n, r + 2n, ..."""
    return items[rank() :: world_size()]


def all_gather(part: T) -> list[T]:
    """The values of all ranks, by rank, on all ranks."""
    if not dist.is_initialized():
        return [part]
    parts: list[T | None] = [None] * world_size()
    dist.all_gather_object(parts, part)
    return parts  # type: ignore[return-value]


def broadcast(value: T | None) -> T:
    """The value of rank 0, on all ranks; the values of the others are ignored."""
    return all_gather(value if rank() == 0 else None)[0]  # type: ignore[return-value]


def all_reduce_mean(value: Tensor) -> Tensor:
    """The mean of a number over all ranks, on all ranks."""
    if not dist.is_initialized():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world_size()


def gather_shards(part: Tensor) -> Tensor:
    """The rows of all ranks, each of which has those of its :func:`shard`, in their order, on all ranks."""
    parts = all_gather(part)
    whole = torch.empty(sum(len(p) for p in parts), *part.shape[1:], dtype=part.dtype)
    for number, rows in enumerate(parts):
        whole[number :: len(parts)] = rows
    return whole
