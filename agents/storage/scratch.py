"""Temporary directories of workers, cleaned up also after a kill.

Every worker holds an flock on a file in its directory. The kernel releases it when the process
ends, however it ends; a worker that acquires the lock of another directory may remove it.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK_NAME = "lock"
_CREATE_ATTEMPTS = 16


@contextmanager
def worker_directory(parent: Path) -> Iterator[Path]:
    """Remove directories of dead workers, then yield a new one, locked until the end of the block.

    Raises:
        OSError: the file system refuses.
    """
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    directory, lock = _create(parent)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def remove_abandoned(parent: Path) -> None:
    """Remove the directories of dead workers.

    A directory that cannot be removed (another user's, say) stays: it must not stop a worker from
    starting.
    """
    for directory in parent.iterdir():
        if not directory.is_symlink():
            with suppress(OSError):
                _remove(directory)


def _remove(directory: Path) -> None:
    lock = _try_lock(directory)
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _create(parent: Path) -> tuple[Path, int]:
    for _ in range(_CREATE_ATTEMPTS):
        directory = Path(tempfile.mkdtemp(dir=parent, prefix=f"{os.getpid()}-"))
        lock = _try_lock(directory)
        if lock is not None:
            return directory, lock
    raise BlockingIOError(None, "other workers keep removing the temporary directory", str(parent))


def _try_lock(directory: Path) -> int | None:
    """Acquire the lock of a directory; None when it is held elsewhere or the directory is gone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(directory / LOCK_NAME, flags, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if _try_flock(lock) and _is_current(directory, lock):
        return lock
    os.close(lock)
    return None


def _try_flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_current(directory: Path, descriptor: int) -> bool:
    # Another worker may have removed the directory between open and flock.
    with suppress(FileNotFoundError):
        return os.path.samestat((directory / LOCK_NAME).stat(), os.fstat(descriptor))
    return False
