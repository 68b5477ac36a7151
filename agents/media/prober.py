"""Prober of downloaded files: container, codecs and durations, read in a media process."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from agents.media.client import MediaProcess
from agents.media.protocol import PROBE, Answer, MediaFacts, Unreadable, Unsupported

PROBE_SECONDS = 10.0
"""Timeout per file; an intact one takes about 10 ms."""

MEMORY_BYTES = 512 * 2**20
"""Private memory of the process: enough to decode the largest picture (100 megapixels)."""


class Probe(Protocol):
    """Reads the media facts of files."""

    async def probe(self, path: Path) -> Answer:
        """Return the facts of a file, or why it cannot be read.

        Raises:
            ProcessUnavailableError: no process at present, or the file cannot be opened.
        """
        ...


class MediaProber(MediaProcess):
    """A `Probe` with one process.

    Args:
        seconds: timeout per file.
        memory_bytes: limit of the process.
        timer: monotonic clock for the start backoff, in seconds.
    """

    def __init__(
        self,
        *,
        seconds: float = PROBE_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(files=1, seconds=seconds, memory_bytes=memory_bytes, timer=timer)

    async def probe(self, path: Path) -> Answer:
        """See `Probe.probe`. One file at a time, in FIFO order."""
        match await self.run(PROBE, [path]):
            case (MediaFacts() | Unsupported() | Unreadable()) as answer:
                return answer
            case other:
                return Unreadable(reason=f"the media process answered {type(other).__name__}")


@asynccontextmanager
async def open_prober() -> AsyncIterator[MediaProber]:
    """Yield a prober; its process is killed at the end of the block."""
    prober = MediaProber()
    try:
        yield prober
    finally:
        prober.close()
