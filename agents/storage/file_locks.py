"""Locks of stored files: readers share one, and the removal of an old file needs it alone.

The kernel releases a lock when its process ends, however it ends. File systems without locks (some
network file systems) have none: a file is removed there although it is read.
"""

import errno
import fcntl
import os
from pathlib import Path

from agents.storage.interface import PublishedFile

_NO_LOCKS = frozenset({errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP})
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


def lock_for_reading(path: Path) -> int | None:
    """Return a descriptor that holds the lock until it is closed; None without a file.

    Waits while the file is being removed, which takes two system calls.

    Raises:
        OSError: the file system refuses.
    """
    descriptor = _lock(path, fcntl.LOCK_SH)
    if descriptor is not None and os.fstat(descriptor).st_nlink == 0:
        os.close(descriptor)
        return None
    return descriptor


def remove_unread(path: Path, listed: PublishedFile) -> bool:
    """Remove a file unless it is being read, or not as it was listed; return whether it was.

    Raises:
        OSError: the file system refuses.
    """
    lock = _lock(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    if lock is None:
        return False
    try:
        status = os.fstat(lock)
        is_listed = (status.st_size, status.st_mtime) == (listed.bytes, listed.published_at)
        is_there = is_listed and os.path.samestat(status, path.lstat())
        if is_there:
            path.unlink()
    except FileNotFoundError:
        return False
    finally:
        os.close(lock)
    return is_there


def _lock(path: Path, mode: int) -> int | None:
    # A FIFO without a writer would block.
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise
    try:
        fcntl.flock(descriptor, mode)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
    return descriptor
