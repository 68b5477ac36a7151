"""Interprocess mutex over flock(2); the kernel releases it when the holder dies."""

import contextlib
import fcntl
import os
from pathlib import Path


class FileLock:
    """Exclusive flock(2) on a file. If a child process inherits it, held until both have exited."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        """Descriptor that holds the lock, for inheritance by a child process.

        Raises:
            RuntimeError: the lock is not held.
        """
        if self._descriptor is None:
            raise RuntimeError(f"{self._path} is not locked")
        return self._descriptor

    def try_acquire(self) -> bool:
        """Acquire the lock without blocking, and write the own process id into the file."""
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
        """Release the lock. The file stays: after an unlink two processes could hold locks."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def holder(self) -> str:
        """Process id written by the last holder, or `unknown`."""
        with contextlib.suppress(OSError):
            text = self._path.read_bytes()[:20].decode("ascii", "replace")
            return text if text.isdecimal() else "unknown"
        return "unknown"
