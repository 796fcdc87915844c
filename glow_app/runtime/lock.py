"""One process at a time, by a lock on a file that goes with its process, however that ends."""

import fcntl
from typing import IO


def lock(file: IO, wait: bool = False) -> bool:
    """Locks a file that is open for writing against other processes, until it is closed.

    Args:
        file: what to lock. The process must not open and close it elsewhere, which would unlock it.
        wait: whether to wait until no other process has it.

    Returns:
        whether it is locked now: False if another process has it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        # Not flock(), whose locks loader workers would inherit, and keep for seconds after their parent was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    return True
