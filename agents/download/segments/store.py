"""Directories of unfinished segment downloads, which outlive the process that began them.

A directory belongs to one format of one video. A download leases it: it is locked until the end,
removed when the file is published, and kept after a failure or kill for the next attempt.
"""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from agents.storage.disk import run_on_disk
from agents.storage.workspaces import lock_directory

KEPT_SECONDS = 3 * 3_600.0
"""Time after which an unfinished download is removed: three times the longest retry delay. Until
then a cancelled or failed request's segments take disk space."""

SWEEP_SECONDS = 600.0
_PRIVATE_PREFIX = "private-"


class SegmentStore:
    """The directories below one root; processes may share it.

    Args:
        root: is created when it is first used.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._swept_at = float("-inf")

    @asynccontextmanager
    async def lease(self, video_key: str, format_id: str) -> AsyncIterator[Path]:
        """Yield the directory of a format; it is kept if the block raises.

        While another download leases it, that is an empty one without a later use.

        Raises:
            ClipmillError: ``system.storage`` or ``system.disk_full``.
        """
        await self._sweep_if_due()
        name = hashlib.sha256(f"{video_key} {format_id}".encode()).hexdigest()[:32]
        directory, lock = await run_on_disk(partial(_acquire, self._root, name), self._root)
        finished = False
        try:
            yield directory
            finished = True
        finally:
            if finished or directory.name.startswith(_PRIVATE_PREFIX):
                shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)

    async def _sweep_if_due(self) -> None:
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            await run_on_disk(partial(sweep, self._root, time.time()), self._root)


def sweep(root: Path, now: float) -> None:
    """Remove the directories that were not used for `KEPT_SECONDS`; ``now``: epoch second."""
    if not root.exists():
        return
    for directory in root.iterdir():
        with suppress(OSError):
            _remove_if_old(directory, now)


def _remove_if_old(directory: Path, now: float) -> None:
    is_private = directory.name.startswith(_PRIVATE_PREFIX)
    if not is_private and now - directory.stat().st_mtime < KEPT_SECONDS:
        return
    lock = lock_directory(directory)
    if lock is not None:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _acquire(root: Path, name: str) -> tuple[Path, int]:
    root.mkdir(parents=True, exist_ok=True)
    directory = root / name
    directory.mkdir(exist_ok=True)
    lock = lock_directory(directory)
    while lock is None:
        directory = Path(tempfile.mkdtemp(dir=root, prefix=_PRIVATE_PREFIX))
        lock = lock_directory(directory)
    os.utime(directory)
    return directory, lock
