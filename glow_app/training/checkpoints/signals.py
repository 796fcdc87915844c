"""SIGTERM, SIGINT and SLURM's signal to requeue: noted on arrival, obeyed where a run can stop."""

import os
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Any

from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

REQUEUE = signal.SIGUSR1
"""Signal of ``sbatch --signal=SIGUSR1@90`` before the time limit: save, and queue the job again."""


class Interrupted(Exception):
    """A signal has asked the run to stop.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    def exit(self) -> BaseException:
        """The exception that ends the program with the status that shells expect: 128 + the signal's number."""
        return KeyboardInterrupt() if self.number == signal.SIGINT else SystemExit(128 + self.number)


class Signals:
    """Notes signals that ask a run to stop inside its context; a second one ends the process at once.

    Ending at once damages nothing, because files are written atomically. On SLURM, this replaces Lightning's own
    handlers: these save in the middle of any computation, averaged weights included, and let a new run of another
    model resume from the file.

    Attributes:
        asked: number of the signal received, or 0.
    """

    SAME_REQUEST = 1.0
    """Seconds within which a second signal belongs to the first: launchers send to groups and to processes."""

    def __init__(self) -> None:
        self.asked = 0
        self._asked_at = 0.0
        self._at_once = False
        self._previous: dict[int, Any] = {}
        self._numbers = [signal.SIGINT, signal.SIGTERM, *([REQUEUE] if SLURMEnvironment.detect() else [])]

    def __enter__(self) -> "Signals":
        self._previous = {number: signal.getsignal(number) for number in self._numbers}
        self.install()
        return self

    def __exit__(self, *exception: object) -> None:
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._previous.items():
                signal.signal(number, handler)

    def install(self) -> None:
        """Installs the handlers, again if Lightning has replaced them."""
        if threading.current_thread() is not threading.main_thread():
            return  # as a program may train; Python hands signals to the main thread alone
        for number in self._numbers:
            signal.signal(number, self._note)

    def obey_at_once(self) -> None:
        """Makes signals raise :class:`Interrupted` on arrival from now on: nothing is left to be saved."""
        self._at_once = True
        if self.asked:
            raise Interrupted(self.asked)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.asked:
            if now - self._asked_at > self.SAME_REQUEST:
                if os.isatty(1):
                    os.write(1, b"\x1b[?25h\n")  # the cursor, which a progress bar hides
                os._exit(128 + number)
            return
        self.asked, self._asked_at = number, now
        if self._at_once:
            raise Interrupted(number)


def requeue() -> str:
    """Asks SLURM to queue this job again, and returns a line on the outcome."""
    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as error:
        return f"job {job} is not queued again: scontrol: {error.strerror}"
    if done.returncode:
        return f"job {job} is not queued again: {' '.join(done.stderr.split()) or 'scontrol failed'}"
    return f"job {job} is queued again"
