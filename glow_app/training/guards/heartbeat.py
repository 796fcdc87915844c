"""Ends all processes of a run soon after one of them dies, whatever they are waiting for."""

# pyright: reportPrivateImportUsage=false
# torch documents its stores and rendezvous under torch.distributed, and does not list them there.

import itertools
import os
import sys
import threading
import time
from datetime import timedelta
from types import TracebackType

import pytorch_lightning as pl
import torch.distributed as dist

from glow_app.runtime import distributed
from glow_app.runtime.rank import is_child
from glow_app.training.checkpoints.signals import Interrupted

BEAT = 1.0
"""Seconds between two signs of life."""

SILENCE = 15.0
"""Seconds without a sign of life after which a process counts as dead."""

GRACE = 5.0
"""Seconds in which a process may still report an error of its own after another has failed."""

STATUS = 1
"""Exit status of a process that ends because another has."""

LEAVING, LEFT = "leaving", "left"
FAILED = "failed "


class Watch(pl.Callback):
    """Writes signs of life to the store of the run, and watches those of the other processes in a thread.

    Without it a process would wait in a collective operation for one that is gone: with NCCL until a timeout of many
    minutes. It is a callback because Lightning creates the store, and a context of the whole run because other ranks
    leave it after rank 0. In a single process, it does nothing.
    """

    _numbers = itertools.count()  # successive runs of one process have separate signs

    def __init__(self) -> None:
        super().__init__()
        self._number = next(Watch._numbers)
        self._store: dist.Store | None = None
        self._status = ""
        self._leaving = threading.Event()
        self._thread: threading.Thread | None = None
        self._parent = os.getppid()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._thread is None:
            return
        if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
            self._status = LEAVING
            self._leaving.set()
            self._thread.join()
            until = time.monotonic() + GRACE
            while is_child() and os.getppid() == self._parent and time.monotonic() < until:
                time.sleep(0.1)  # Lightning kills the parent process if this one's exit status is not 0
        else:
            self._note_failure(error)

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if trainer.world_size == 1 or self._thread is not None:
            return
        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        # A connection of its own: the thread's requests do not wait for others.
        store = dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=SILENCE))
        self._store = dist.PrefixStore(f"watch {self._number}", store)
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if not isinstance(exception, Interrupted):
            self._note_failure(exception)

    def _note_failure(self, error: BaseException) -> None:
        consequence = any(distributed.is_lost_connection(e) for e in (error, error.__cause__) if e is not None)
        if not consequence and not self._status:
            self._status = f"{FAILED}{error}"

    def _run(self) -> None:
        assert self._store is not None
        rank, names = distributed.rank(), [str(other) for other in range(distributed.world_size())]
        heard: dict[int, tuple[str, float]] = {}
        for beat in itertools.count():
            try:
                self._store.set(names[rank], self._status or str(beat))
                signs = [sign.decode(errors="replace") for sign in self._store.multi_get(names)]
            except RuntimeError:  # the process with the store has ended, or one never started
                self._end(rank, 0, "it has ended")
                return
            if self._status == LEAVING and self._may_leave(rank, signs):
                return
            for other, sign in enumerate(signs):
                if sign.startswith(FAILED) and other != rank:
                    time.sleep(GRACE)
                    self._end(rank, other, sign.removeprefix(FAILED))
                if other not in heard or heard[other][0] != sign:
                    heard[other] = (sign, time.monotonic())
                if sign != LEAVING and time.monotonic() - heard[other][1] > SILENCE:
                    self._end(rank, other, "it gives no sign of life any more")
                    return
            if self._leaving.wait(BEAT):
                time.sleep(0.1)

    def _may_leave(self, rank: int, signs: list[str]) -> bool:
        """Returns whether this process may end: rank 0 waits until all others leave, and these until it has left."""
        assert self._store is not None
        if rank > 0:
            return signs[0] == LEFT
        if all(sign == LEAVING for sign in signs[1:]):
            self._store.set("0", LEFT)
            return True
        return False

    def _end(self, rank: int, other: int, why: str) -> None:
        """Ends this process, whatever its main thread is waiting for, unless its work is done."""
        if self._status == LEAVING:
            return
        if rank == (0 if other > 0 else 1):
            print(f"error: process {other} of this run: {why}", file=sys.stderr, flush=True)
        os._exit(STATUS)
