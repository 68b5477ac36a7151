"""Workspaces: private directories of jobs, on a local disk, of which a kill leaves nothing.

They are below one directory per worker, in which the worker holds an flock on a file. The kernel
releases it when the process ends, however it ends; a worker that acquires the lock of another
directory may remove it.
"""

import asyncio
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Self

from agents.storage.disk import map_file_errors

LOCK_NAME = "lock"
_CREATE_ATTEMPTS = 16


class Workspaces:
    """The workspaces of one worker. Constructed by `Workspaces.open`.

    Attributes:
        directory: of this worker, below that of all workers.
    """

    def __init__(self, parent: Path, resources: ExitStack) -> None:
        self._parent = parent
        self._resources = resources
        self.directory = resources.enter_context(worker_directory(parent))

    @classmethod
    @asynccontextmanager
    async def open(cls, parent: Path) -> AsyncIterator[Self]:
        """Create the worker's directory, and remove those of killed workers.

        Args:
            parent: directory of all workers on this host.

        Raises:
            ClipmillError: ``system.storage`` or ``system.disk_full``; names the directory.
        """
        resources = ExitStack()
        with map_file_errors(parent):
            workspaces = await asyncio.to_thread(cls, parent, resources)
        try:
            yield workspaces
        finally:
            await asyncio.to_thread(resources.close)

    @asynccontextmanager
    async def create(self) -> AsyncIterator[Path]:
        """Yield a new private directory; it is removed at the end of the block."""
        with map_file_errors(self.directory):
            directory = Path(tempfile.mkdtemp(dir=self.directory, prefix="job-"))
        try:
            yield directory
        finally:
            try:
                # Empty once its file is published: a thread would cost more than the removal.
                directory.rmdir()  # noqa: ASYNC240
            except OSError:
                await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def restore(self) -> None:
        """Create the worker's directory again if it was removed.

        Raises:
            OSError: the file system refuses.
        """
        if not self.directory.is_dir():
            self.directory = self._resources.enter_context(worker_directory(self._parent))


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
        with suppress(OSError):
            lock = None if directory.is_symlink() else lock_directory(directory)
            if lock is not None:
                shutil.rmtree(directory, ignore_errors=True)
                os.close(lock)


def _create(parent: Path) -> tuple[Path, int]:
    for _ in range(_CREATE_ATTEMPTS):
        directory = Path(tempfile.mkdtemp(dir=parent, prefix=f"{os.getpid()}-"))
        lock = lock_directory(directory)
        if lock is not None:
            return directory, lock
    raise BlockingIOError(None, "other workers keep removing the temporary directory", str(parent))


def lock_directory(directory: Path) -> int | None:
    """Lock a directory by a file in it; return its descriptor, whose closing releases the lock.

    None when another process holds the lock, or the directory is gone.

    Raises:
        OSError: the file system refuses.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        lock = os.open(directory / LOCK_NAME, flags, 0o666)
    except (FileNotFoundError, NotADirectoryError):
        return None
    is_held = False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another worker may have removed the directory between open and flock.
        is_held = os.path.samestat((directory / LOCK_NAME).stat(), os.fstat(lock))
    except (BlockingIOError, FileNotFoundError):
        pass
    finally:
        if not is_held:
            os.close(lock)
    return lock if is_held else None
