"""Remuxer of downloaded files: extracts, muxes, joins and tags without transcoding."""

import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from agents.media.client import MediaProcess, ProcessUnavailableError
from agents.media.prober import MEMORY_BYTES
from agents.media.protocol import (
    EXTRACT_AUDIO,
    FILES_MAX,
    MUX,
    JoinPlan,
    NotWritten,
    Remuxed,
    TagPlan,
    TrackFile,
    Unreadable,
    Unsupported,
    join_task,
    tag_task,
)
from agents.storage.disk import map_file_errors
from schemas.errors import ClipmillError, ErrorCode

REMUX_SECONDS = 120.0
"""Timeout per file: 2 GiB are read, written, and moved behind the index (6 GiB of I/O) in less on a
disk of 100 MB/s. A post of 10 MB takes 0.1 s."""


class Remux(Protocol):
    """Stream copy of media into new files; packets are not transcoded.

    ``target`` must not be a published file: after a failure it exists, incomplete.
    """

    async def extract_audio(self, source: Path, target: Path) -> str:
        """Write the audio of a file; return the file extension of its container.

        Raises:
            ClipmillError: ``content.damaged``, the file cannot be read or has no audio;
                ``content.unsupported``, no container supports its codec; ``system.disk_full`` or
                ``system.storage``; ``system.engine_crash``, no process at present.
        """
        ...

    async def mux(self, picture: Path, sound: Path, target: Path) -> str:
        """Write the video of one file with the audio of another, as MP4; return ``mp4``.

        Both must be of one post. If the audio's file has a video too, both videos are assumed to
        start simultaneously, and must have the same duration.

        Raises:
            ClipmillError: as `extract_audio`.
        """
        ...

    async def join(self, tracks: Sequence[tuple[Path, TrackFile]], target: Path) -> str:
        """Write the tracks of one or two files of segments; return the file extension.

        Raises:
            ClipmillError: as `extract_audio`.
        """
        ...

    async def tag(self, source: Path, target: Path, tags: Mapping[str, str]) -> str:
        """Write the picture and sound of an MP4 file with tags; return ``mp4``.

        Raises:
            ClipmillError: as `extract_audio`.
        """
        ...


class MediaRemuxer(MediaProcess):
    """A `Remux` with one process.

    Args:
        seconds: timeout per file.
        memory_bytes: limit of the process.
        timer: monotonic clock for the start backoff, in seconds.
    """

    def __init__(
        self,
        *,
        seconds: float = REMUX_SECONDS,
        memory_bytes: int = MEMORY_BYTES,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(files=FILES_MAX, seconds=seconds, memory_bytes=memory_bytes, timer=timer)

    async def extract_audio(self, source: Path, target: Path) -> str:
        """See `Remux.extract_audio`. One file at a time, in FIFO order."""
        return await self._remux(EXTRACT_AUDIO, [source], target)

    async def mux(self, picture: Path, sound: Path, target: Path) -> str:
        """See `Remux.mux`. One file at a time, in FIFO order."""
        return await self._remux(MUX, [picture, sound], target)

    async def join(self, tracks: Sequence[tuple[Path, TrackFile]], target: Path) -> str:
        """See `Remux.join`. One file at a time, in FIFO order."""
        plan = JoinPlan(tuple(file for _, file in tracks))
        return await self._remux(join_task(plan), [path for path, _ in tracks], target)

    async def tag(self, source: Path, target: Path, tags: Mapping[str, str]) -> str:
        """See `Remux.tag`. One file at a time, in FIFO order."""
        return await self._remux(tag_task(TagPlan(dict(tags))), [source], target)

    async def _remux(self, task: bytes, sources: Sequence[Path], target: Path) -> str:
        try:
            with map_file_errors(target.parent):
                answer = await self.run(task, sources, target)
                if isinstance(answer, NotWritten):
                    raise OSError(answer.number, os.strerror(answer.number))
        except ProcessUnavailableError as error:
            message = f"a file cannot be remuxed at present: {error}"
            raise ClipmillError(ErrorCode.SYSTEM_ENGINE_CRASH, message) from error
        match answer:
            case Remuxed(extension=extension):
                return extension
            case Unsupported(reason=reason):
                message = f"its sound cannot be extracted into a file: {reason}"
                raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, reason=reason)
            case Unreadable(reason=reason):
                raise _damaged_error(reason)
            case other:
                raise _damaged_error(f"the media process answered {type(other).__name__}")


def _damaged_error(reason: str) -> ClipmillError:
    message = f"the downloaded file cannot be remuxed: {reason}"
    return ClipmillError(ErrorCode.CONTENT_DAMAGED, message, reason=reason)


@asynccontextmanager
async def open_remuxer() -> AsyncIterator[MediaRemuxer]:
    """Yield a remuxer; its process is killed at the end of the block."""
    remuxer = MediaRemuxer()
    try:
        yield remuxer
    finally:
        remuxer.close()
