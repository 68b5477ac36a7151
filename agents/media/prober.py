"""Looks into finished files, by a process that may be killed at any moment."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from agents.media.client import MediaProcess
from agents.media.facts import LOOK, Answer, MediaFacts, Unknown, Unreadable

PROBE_SECONDS = 10.0
"""For one file. A sound one takes about 10 ms."""

MEMORY_BYTES = 512 * 2**20
"""Private memory: enough for the largest picture that is read (100 megapixels)."""


class Probe(Protocol):
    """Looks into finished files."""

    async def probe(self, path: Path) -> Answer:
        """Return what is in a file.

        Raises:
            ProcessAwayError: it cannot be told at present.
        """
        ...


class MediaProber(MediaProcess):
    """A `Probe` by one process.

    Args:
        seconds: for one file.
        memory_bytes: of the process.
        timer: seconds, for how long one that cannot be started is let alone.
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
        """See `Probe.probe`. Files wait for their turn."""
        match await self.run(LOOK, [path]):
            case (MediaFacts() | Unknown() | Unreadable()) as answer:
                return answer
            case other:
                return Unreadable(reason=f"whoever reads it says {type(other).__name__}")


@asynccontextmanager
async def open_prober() -> AsyncIterator[MediaProber]:
    """Yield a prober; its process, if there is one, ends with the block."""
    prober = MediaProber()
    try:
        yield prober
    finally:
        prober.close()
