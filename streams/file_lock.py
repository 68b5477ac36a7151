"""A lock that one process at a time holds, and that the kernel gives back when it dies."""

import contextlib
import fcntl
import os
from pathlib import Path


class FileLock:
    """An exclusive flock(2) on a file. Handed to a child process, it lasts until both are gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """The open file that holds the lock, for a child process to inherit.

        Raises:
            RuntimeError: the lock is not held.
        """
        if self._descriptor is None:
            raise RuntimeError(f"{self._path} is not locked")
        return self._descriptor

    def try_acquire(self) -> bool:
        """Take the lock if it is free, and write this process's id into the file."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Let go of the lock. The file stays: removing it would let two processes hold it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str:
        """The process id that the last holder wrote, or `unknown`."""
        with contextlib.suppress(OSError):
            text = self._path.read_bytes()[:20].decode("ascii", "replace")
            return text if text.isdecimal() else "unknown"
        return "unknown"
