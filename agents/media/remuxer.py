"""Makes a file of others without transcoding, by a process that may be killed at any moment."""

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from agents.media.client import MediaProcess, ProcessAwayError
from agents.media.facts import (
    FILES_MAX,
    JOIN,
    TAKE_SOUND,
    NotWritten,
    Remuxed,
    Unknown,
    Unreadable,
)
from agents.media.prober import MEMORY_BYTES
from agents.storage.errors import map_file_errors
from schemas.errors import ClipmillError, ErrorCode

REMUX_SECONDS = 120.0
"""For one file: 2 GiB are read, written and moved behind their index, 6 GiB in all, in less on a
disk of 100 MB/s. A post of 10 MB takes 0.1 s."""


class Remux(Protocol):
    """Makes files of others. Packets are copied as they are.

    ``target`` must not be a published file: after a failure it is there, incomplete.
    """

    async def take_sound(self, source: Path, target: Path) -> str:
        """Write the sound of a file; return the file extension of its container.

        Raises:
            ClipmillError: ``content.damaged``, the file cannot be read or has no sound;
                ``content.unsupported``, no container takes its codec; ``system.disk_full`` or
                ``system.storage``; ``system.engine_crash``, it cannot be done at present.
        """
        ...

    async def join(self, picture: Path, sound: Path, target: Path) -> str:
        """Write the picture of one file with the sound of another, as MP4; return ``mp4``.

        Both must be of one post. Where the file of the sound has a picture too, both pictures
        begin at one moment, and must be of one length.

        Raises:
            ClipmillError: as `take_sound`.
        """
        ...


class MediaRemuxer(MediaProcess):
    """A `Remux` by one process.

    Args:
        seconds: for one file.
        memory_bytes: of the process.
        timer: seconds, for how long one that cannot be started is let alone.
    """

    def __init__(
        self,
        *,
        seconds: float = REMUX_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(files=FILES_MAX, seconds=seconds, memory_bytes=memory_bytes, timer=timer)

    async def take_sound(self, source: Path, target: Path) -> str:
        """See `Remux.take_sound`. Files wait for their turn."""
        return await self._make(TAKE_SOUND, [source], target)

    async def join(self, picture: Path, sound: Path, target: Path) -> str:
        """See `Remux.join`. Files wait for their turn."""
        return await self._make(JOIN, [picture, sound], target)

    async def _make(self, task: bytes, sources: Sequence[Path], target: Path) -> str:
        try:
            with map_file_errors(target.parent):
                answer = await self.run(task, sources, target)
                if isinstance(answer, NotWritten):
                    raise OSError(answer.number, os.strerror(answer.number))
        except ProcessAwayError as error:
            message = f"a file cannot be remuxed at present: {error}"
            raise ClipmillError(ErrorCode.SYSTEM_ENGINE_CRASH, message) from error
        match answer:
            case Remuxed(extension=extension):
                return extension
            case Unknown(reason=reason):
                message = f"its sound cannot be had as a file of its own: {reason}"
                raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, reason=reason)
            case Unreadable(reason=reason):
                raise _damaged(reason)
            case other:
                raise _damaged(f"whoever reads it says {type(other).__name__}")


def _damaged(reason: str) -> ClipmillError:
    message = f"the file that came cannot be remuxed: {reason}"
    return ClipmillError(ErrorCode.CONTENT_DAMAGED, message, reason=reason)


@asynccontextmanager
async def open_remuxer() -> AsyncIterator[MediaRemuxer]:
    """Yield a remuxer; its process, if there is one, ends with the block."""
    remuxer = MediaRemuxer()
    try:
        yield remuxer
    finally:
        remuxer.close()
