"""Streams bytes into one file and computes their SHA-256 on the way, off the event loop."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from agents.storage.disk import map_file_errors, run_on_disk
from agents.storage.interface import FileGoneError

T = TypeVar("T")

BATCH_BYTES = 512 * 1024
"""Buffer per file before a batch is hashed and written in a thread, so that a slow disk does not
block the event loop. From 256 KiB to 4 MiB a download costs the same processor time; a larger one
would only take memory, for each of many downloads."""


class HashingFile:
    """A new file, written sequentially. Constructed by `open_hashing_file`."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.size = 0
        self._path = path
        self._descriptor = descriptor
        self._digest = hashlib.sha256()
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0

    async def write(self, chunk: bytes) -> None:
        """Append bytes. They are buffered until `finish`, and durable once they are published.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        self._buffer.append(chunk)
        self._buffered_bytes += len(chunk)
        self.size += len(chunk)
        if self._buffered_bytes >= BATCH_BYTES:
            await self._run(self._flush)

    async def restart(self) -> None:
        """Discard everything that was written."""
        self._buffer, self._buffered_bytes, self.size = [], 0, 0
        self._digest = hashlib.sha256()
        await self._run(self._truncate)

    async def finish(self) -> str:
        """Write what is buffered; return the SHA-256 of the file (hex)."""
        await self._run(self._flush)
        return self._digest.hexdigest()

    async def _run(self, call: Callable[[], T]) -> T:
        return await run_on_disk(call, self._path.parent)

    def _flush(self) -> None:
        for chunk in self._buffer:
            self._digest.update(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        self._buffer, self._buffered_bytes = [], 0

    def _truncate(self) -> None:
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)


async def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file (hex).

    Raises:
        FileGoneError: it does not exist (any more).
        ClipmillError: ``system.storage``, it cannot be read.
    """

    def read() -> str:
        try:
            file = path.open("rb", buffering=0)
        except FileNotFoundError:
            raise FileGoneError(str(path)) from None
        with file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return await run_on_disk(read, path.parent)


@asynccontextmanager
async def open_hashing_file(path: Path) -> AsyncIterator[HashingFile]:
    """Create the file; it is closed at the end of the block, finished or not.

    Raises:
        ClipmillError: ``system.storage`` or ``system.disk_full``; also when it exists already.
    """
    with map_file_errors(path.parent):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        yield HashingFile(path, descriptor)
    finally:
        os.close(descriptor)
