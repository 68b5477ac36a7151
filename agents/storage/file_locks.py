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


class ReadLock:
    """The lock of a reader.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> bool:
        """Acquire the lock; return whether the file exists.

        Never waits: while another process holds the file alone, it is read without a lock.

        Raises:
            OSError: the file system refuses.
        """
        self._descriptor = _open(self._path)
        if self._descriptor is None:
            return False
        _try_lock(self._descriptor, fcntl.LOCK_SH)
        return os.fstat(self._descriptor).st_nlink > 0

    def release(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def remove_unread(path: Path, listed: PublishedFile) -> bool:
    """Remove a file unless it is being read, or not as it was listed; return whether it was.

    Raises:
        OSError: the file system refuses.
    """
    lock = _open(path)
    if lock is None:
        return False
    try:
        if not _try_lock(lock, fcntl.LOCK_EX):
            return False
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


def _open(path: Path) -> int | None:
    # A FIFO without a writer would block.
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in _GONE:
            return None
        raise


def _try_lock(descriptor: int, mode: int) -> bool:
    """Return whether no other process holds the lock in another mode."""
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True
