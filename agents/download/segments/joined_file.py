"""Writes segments, joins them in their order as they are finished, and resumes after a kill.

Finished segments that are not due yet are files of their own. A journal records the size of each
appended segment: bytes beyond it come from an append that a kill interrupted, and are cut off.
Nothing is synced. A kill loses nothing of the page cache; a crash of the machine does, so the
state is void after a reboot.
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from agents.storage.disk import run_on_disk

DATA, JOURNAL, FINGERPRINT = "joined", "journal", "fingerprint"
PARTIAL_SUFFIX = ".part"
_COPY_BYTES = 2**30
"""Limit of one system call."""

BATCH_BYTES = 512 * 1024
"""Buffer per segment, as for whole files (`agents.storage.writing`)."""

_VECTORS_MAX = 512
"""Chunks per system call, below IOV_MAX (1,024)."""


class JoinedFile:
    """The file of a track, on its way. All methods block.

    Args:
        directory: keeps the state; written by one download at a time.
        fingerprint: of the list of segments; the state of another one is discarded.

    Attributes:
        path: of the joined bytes.
    """

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self.path = directory / DATA
        self._directory = directory
        self._journal = directory / JOURNAL
        self._sizes = self._restore(fingerprint)
        self._finished = {int(each) for each in self._names() if each.isdecimal()}

    @property
    def bytes_on_disk(self) -> int:
        """Size of the joined file and of the finished segments beside it."""
        beside = (self._path_of(index).stat().st_size for index in self._finished)
        return sum(self._sizes) + sum(beside)

    def has(self, index: int) -> bool:
        """Return whether a segment is finished, joined or not."""
        return index < len(self._sizes) or index in self._finished

    def partial_path(self, index: int) -> Path:
        """Return the path at which a segment is written."""
        return self._directory / f"{index}{PARTIAL_SUFFIX}"

    def finish(self, index: int) -> None:
        """Record that a segment is complete, and join the segments that are due."""
        self.partial_path(index).replace(self._path_of(index))
        self._finished.add(index)
        self.join_due()

    def join_due(self) -> None:
        """Append the finished segments that follow the joined ones."""
        if len(self._sizes) not in self._finished:
            return
        with self.path.open("r+b", buffering=0) as data, self._journal.open("a") as journal:
            data.seek(0, os.SEEK_END)
            while (index := len(self._sizes)) in self._finished:
                size = _append(self._path_of(index), data.fileno())
                journal.write(f"{size}\n")
                journal.flush()
                self._sizes.append(size)
                self._finished.discard(index)
                self._path_of(index).unlink()

    def offsets(self, indexes: Sequence[int]) -> list[int]:
        """Return the offsets of joined segments in the file."""
        starts = [0]
        for size in self._sizes:
            starts.append(starts[-1] + size)
        return [starts[index] for index in indexes]

    def _path_of(self, index: int) -> Path:
        return self._directory / str(index)

    def _names(self) -> list[str]:
        return [each.name for each in self._directory.iterdir()]

    def _restore(self, fingerprint: str) -> list[int]:
        """Return the sizes of the joined segments; discard a state that does not fit."""
        known = self._directory / FINGERPRINT
        sizes = _read_sizes(self._journal)
        is_same = known.exists() and known.read_text() == fingerprint and self.path.exists()
        if not is_same or self.path.stat().st_size < sum(sizes):
            sizes = []
            self._discard()
            self.path.touch()
            known.write_text(fingerprint)
        for name in self._names():
            is_joined = name.isdecimal() and int(name) < len(sizes)
            if is_joined or name.endswith(PARTIAL_SUFFIX):
                (self._directory / name).unlink()
        os.truncate(self.path, sum(sizes))
        self._journal.write_text("".join(f"{size}\n" for size in sizes))
        return sizes

    def _discard(self) -> None:
        for name in self._names():
            if name in {DATA, JOURNAL, FINGERPRINT} or name.isdecimal():
                (self._directory / name).unlink()


def _read_sizes(journal: Path) -> list[int]:
    """Return the sizes of a journal, without a line that was not written to its end."""
    if not journal.exists():
        return []
    complete = journal.read_text().rpartition("\n")[0]
    return [int(line) for line in complete.splitlines() if line.isdecimal()]


def _append(path: Path, target: int) -> int:
    """Append a file to an open one, within the kernel; return its size."""
    with path.open("rb", buffering=0) as source:
        offset = 0
        while sent := os.sendfile(target, source.fileno(), offset, _COPY_BYTES):
            offset += sent
        return offset


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
