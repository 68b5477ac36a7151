"""Workspaces: private directories of jobs, on a local disk, of which a kill leaves nothing."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Self

from agents.storage.errors import map_file_errors
from agents.storage.scratch import worker_directory


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
            # Empty once its file is published: a thread would cost more than the removal.
            if not _remove_empty(directory):
                await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def restore(self) -> None:
        """Create the worker's directory again if it was removed.

        Raises:
            OSError: the file system refuses.
        """
        if not self.directory.is_dir():
            self.directory = self._resources.enter_context(worker_directory(self._parent))


def _remove_empty(directory: Path) -> bool:
    """Remove a directory if it is empty; return whether it was."""
    try:
        directory.rmdir()
    except OSError:
        return False
    return True
