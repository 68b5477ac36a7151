"""The file of one segment while it arrives."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from agents.storage.disk import run_on_disk

BATCH_BYTES = 512 * 1024
"""Buffer per segment, as for whole files (`agents.storage.writing`)."""

_VECTORS_MAX = 512
"""Chunks per system call, below IOV_MAX (1,024)."""


class SegmentFile:
    """A new file, written sequentially. Not synced: its segment is fetched again after a crash."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._buffer: list[bytes] = []
        self._buffered_bytes = 0

    async def write(self, chunk: bytes) -> None:
        self._buffer.append(chunk)
        self._buffered_bytes += len(chunk)
        if self._buffered_bytes >= BATCH_BYTES or len(self._buffer) == _VECTORS_MAX:
            await self.flush()

    async def flush(self) -> None:
        """Write the buffer.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        chunks, self._buffer, self._buffered_bytes = self._buffer, [], 0
        if chunks:
            await run_on_disk(partial(_write, self._descriptor, chunks), self._path.parent)


def _write(descriptor: int, chunks: list[bytes]) -> None:
    size, written = sum(map(len, chunks)), os.writev(descriptor, chunks)
    if written < size:
        rest = memoryview(b"".join(chunks))[written:]
        while rest:
            rest = rest[os.write(descriptor, rest) :]


@asynccontextmanager
async def segment_file(path: Path) -> AsyncIterator[SegmentFile]:
    """Create or truncate the file; at the end of the block it is complete and closed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    descriptor = await run_on_disk(partial(os.open, path, flags, 0o666), path.parent)
    try:
        file = SegmentFile(path, descriptor)
        yield file
        await file.flush()
    finally:
        os.close(descriptor)
