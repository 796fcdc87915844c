"""Several processes that know of each other, for tests: started once, since importing torch takes seconds."""

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class Ranks:
    """``n`` processes joined by gloo over loopback, as if torchrun had started them.

    Args:
        n: how many.
    """

    def __init__(self, n: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for rank in range(n):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank, n, port), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def call(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``function(*arguments)`` gives in each process, by rank."""
        for pipe in self._pipes:
            pipe.send((function, arguments))
        answers = [pipe.recv() if pipe.poll(120) else "no answer in two minutes" for pipe in self._pipes]
        failed = [f"process {rank}: {answer}" for rank, answer in enumerate(answers) if isinstance(answer, str)]
        assert not failed, "\n".join(failed)
        return [answer[0] for answer in answers]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(pipe: Connection, rank: int, n: int, port: int) -> None:
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(n), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(n),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    import pytorch_lightning as pl
    import torch

    from glow_app.runtime import distributed
    from glow_app.training.guards.heartbeat import Watch

    torch.set_num_threads(1)
    # It ends processes that fail; these are to go on with the next test. The watch has tests of its own.
    Watch.setup = pl.Callback.setup
    with distributed.process_group():
        while True:
            function, arguments = pipe.recv()
            try:
                pipe.send((function(*arguments),))
            except BaseException:
                pipe.send(traceback.format_exc())
