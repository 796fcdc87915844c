"""Several processes that share one piece of work; with one process, nothing happens."""

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
"""In the environment of processes that ``glow-train`` started: what it had decided before."""


@contextmanager
def process_group() -> Iterator[None]:
    """Inside, the processes that were started together know of each other.

    Raises:
        UserError: one of them has ended inside, and this one has noticed.
    """
    here = rank_info()
    if here.world_size == 1 or dist.is_initialized():
        yield
        return
    _import_what_holds_groups()
    # Sums and lists on the CPU, at the end of the work: speed does not matter.
    dist.init_process_group("gloo", store=_store(), rank=here.rank, world_size=here.world_size)
    try:
        yield
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        raise UserError("another process of this job has ended; what it said before tells why") from error
    finally:
        dist.destroy_process_group()


def _import_what_holds_groups() -> None:
    """To be called before processes are joined.

    Some of torch's functions have "all processes" as the default of an argument. Imported later, as much else imports
    them, they would hold what joins the processes beyond its end: its threads would outlive Python, and might abort a
    process that has done all its work.
    """
    import torch.distributed.nn.functional  # noqa: F401


def broadcast_decision(decide: Callable[[], str]) -> str:
    """What the first process decides, known to all of those that were started together, before they are joined.

    Also known to the processes that this one may start later.
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
    """Where processes leave each other notes: that of torchrun, else the first process keeps it."""
    global _kept_store
    if _kept_store is None:
        here = rank_info()
        if is_of_srun():
            from lightning_fabric.plugins.environments.slurm import SLURMEnvironment  # reads SLURM's lists of machines

            environment = SLURMEnvironment(auto_requeue=False)
            os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = (
                environment.main_address, str(environment.main_port)
            )  # fmt: skip
        _kept_store = next(dist.rendezvous("env://", here.rank, here.world_size))[0]
    return _kept_store


_kept_store: dist.Store | None = None
_decisions = itertools.count()


def is_lost_connection(error: BaseException) -> bool:
    """Whether a collective operation failed because another process is gone."""
    if isinstance(error, dist.DistError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and ("gloo" in text.lower() or "Connection closed by peer" in text)


def rank() -> int:
    """Number of this process, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_initialized() else 1


def local_rank() -> int:
    """Number of this process among those of its machine: which GPU is its own."""
    return rank_info().local_rank


def is_rank_zero() -> bool:
    """Whether this is the process that speaks and writes files."""
    return rank_info().rank == 0


def require_one(command: str) -> None:
    """Raises a UserError if this is one of several processes, each of which would do the whole work."""
    if rank_info().world_size > 1:
        raise UserError(f"{command} runs in one process; start it without torchrun or srun")


def shard(items: Sequence[S]) -> Sequence[S]:
    """This process's part: process r of n takes numbers r, r + n, r + 2n, ..."""
    return items[rank() :: world_size()]


def all_gather(part: T) -> list[T]:
    """What each process has, by rank, known to all."""
    if not dist.is_initialized():
        return [part]
    parts: list[T | None] = [None] * world_size()
    dist.all_gather_object(parts, part)
    return parts  # type: ignore[return-value]


def broadcast(value: T | None) -> T:
    """The value that the first process has, known to all; what the others give does not matter."""
    return all_gather(value if rank() == 0 else None)[0]  # type: ignore[return-value]


def all_reduce_mean(value: Tensor) -> Tensor:
    """The mean over all processes of a number that each has."""
    if not dist.is_initialized():
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / world_size()


def gather_shards(part: Tensor) -> Tensor:
    """The rows of all processes, each of which has those of its :func:`shard`, in their order: known to all."""
    parts = all_gather(part)
    whole = torch.empty(sum(len(p) for p in parts), *part.shape[1:], dtype=part.dtype)
    for number, rows in enumerate(parts):
        whole[number :: len(parts)] = rows
    return whole
