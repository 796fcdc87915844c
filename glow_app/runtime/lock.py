"""A lock on a file that ends with its process, however that ends."""

import fcntl
from typing import IO


def lock(file: IO, wait: bool = False) -> bool:
    """Locks an open file against other processes until it is closed.

    Args:
        file: file to lock, open for writing. To open and close it elsewhere in this process would unlock it.
        wait: whether to wait until no other process has it.

    Returns:
        whether it is locked now: False if another process has it.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        # Not flock(): loader workers would inherit its locks, and hold them for seconds after their parent was killed.
        fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except (BlockingIOError, PermissionError):
        return False
    return True
