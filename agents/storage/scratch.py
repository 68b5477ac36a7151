"""Temporary directories that outlive no worker, not even one that was killed.

Every worker has a directory with a locked file in it. The kernel drops the lock when the process
ends, however it ends; whoever gets the lock may remove the directory.
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
    """Remove what dead workers left, then yield a new directory that is ours until the end.

    Raises:
        OSError: the file system does not let us.
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
    """Remove the directories of workers that do not live any more.

    What cannot be removed (another user's, say) stays: it must not keep a worker from starting.
    """
    for directory in parent.iterdir():
        if not directory.is_symlink():
            with suppress(OSError):
                _remove(directory)


def _remove(directory: Path) -> None:
    lock = _take(directory)
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _create(parent: Path) -> tuple[Path, int]:
    for _ in range(_CREATE_ATTEMPTS):
        directory = Path(tempfile.mkdtemp(dir=parent, prefix=f"{os.getpid()}-"))
        lock = _take(directory)
        if lock is not None:
            return directory, lock
    raise BlockingIOError(None, "other workers keep removing the temporary directory", str(parent))


def _take(directory: Path) -> int | None:
    """Return the held lock of a directory; None when someone else has it or it is gone."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(directory / LOCK_NAME, flags, 0o600)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if _lock(lock) and _is_still_there(directory, lock):
        return lock
    os.close(lock)
    return None


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still_there(directory: Path, descriptor: int) -> bool:
    # Between opening and locking, another worker may have swept the directory away.
    with suppress(FileNotFoundError):
        return os.path.samestat((directory / LOCK_NAME).stat(), os.fstat(descriptor))
    return False
