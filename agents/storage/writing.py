"""Writes one file as its bytes arrive, and knows their digest at the end."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from agents.storage.errors import FileGoneError, map_file_errors

T = TypeVar("T")

BATCH_BYTES = 512 * 1024
"""Collected before they are hashed and written in a thread, which keeps a slow disk from stopping
everything else in the process. From 256 KiB to 4 MiB a download costs the same processor time;
more would be memory for each of many downloads."""

# Apart from asyncio's own threads, which resolve names: a slow disk must not stop DNS.
_DISK = ThreadPoolExecutor(max_workers=8, thread_name_prefix="disk")


class HashingFile:
    """A new file that is written from the start to the end. Made by `open_hashing_file`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.size = 0
        self._path = path
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; they are on their way to the disk, not on it.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        self._waiting.append(chunk)
        self._waiting_bytes += len(chunk)
        self.size += len(chunk)
        if self._waiting_bytes >= BATCH_BYTES:
            await self._run(self._flush)

    async def restart(self) -> None:
        """Forget everything that was written."""
        self._waiting, self._waiting_bytes, self.size = [], 0, 0
        self._digest = hashlib.sha256()
        await self._run(self._truncate)

    async def finish(self) -> str:
        """Bring everything to the disk and return its sha256, hex."""
        await self._run(self._sync)
        return self._digest.hexdigest()

    async def _run(self, work: Callable[[], T]) -> T:
        with map_file_errors(self._path.parent):
            return await _uninterrupted(work)

    def _flush(self) -> None:
        for chunk in self._waiting:
            self._digest.update(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._waiting, self._waiting_bytes = [], 0

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)

    def _sync(self) -> None:
        self._flush()
        os.fsync(self._descriptor)


async def digest_of(path: Path) -> str:
    """Return the sha256 of a file, hex.

    Raises:
        FileGoneError: it is not there (any more).
        ClipmillError: ``system.storage``, it cannot be read.
    """

    def read() -> str:
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise FileGoneError(str(path)) from None
        with file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    with map_file_errors(path.parent):
        return await _uninterrupted(read)


@asynccontextmanager
async def open_hashing_file(path: Path) -> AsyncIterator[HashingFile]:
    """Create the file and close it at the end of the block, finished or not.

    Raises:
        ClipmillError: ``system.storage`` or ``system.disk_full``; also when it exists already.
    """
    with map_file_errors(path.parent):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield HashingFile(path, descriptor)
    finally:
        os.close(descriptor)


async def _uninterrupted(work: Callable[[], T]) -> T:
    """Run the work in a thread; a cancellation is held back until the thread is through.

    Otherwise the descriptor could be closed, and its number used again, under the thread.
    """
    running = asyncio.get_running_loop().run_in_executor(_DISK, work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                continue
        running.exception()
        raise
