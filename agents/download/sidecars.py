"""Sidecars: files beside the media of a post, by request option.

They are named after the first file of the post, as media servers expect it. The thumbnail is
downloaded like a media file. Metadata is written again by each request that asks for it.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from msgspec.structs import replace

from agents.download.download_task import DownloadTask
from agents.download.file_provider import FileProvider
from agents.download.post_metadata import write_info, write_nfo
from agents.download.storage_guard import STORAGE_ERROR_CODES
from agents.storage import PostDetails, Storage
from agents.storage.names import THUMBNAIL_SUFFIX
from agents.storage.writing import open_hashing_file
from schemas.errors import ClipmillError
from schemas.events import SelectedVideo
from schemas.files import SIDECAR_TYPES, Sidecar, StoredFile
from schemas.job import Job
from schemas.video import SelectedSource, VideoFormat, VideoInfo

logger = logging.getLogger(__name__)

THUMBNAIL_BYTES_MAX = 20 * 2**20
THUMBNAIL_SECONDS = 30.0
"""Of the transfer. A thumbnail does not fail its request, and must not delay it for long."""

WAIT_SECONDS = 60.0
"""With the waits for breaker and rate limiter."""

SPARE_SECONDS = 2.0
"""Before the deadline of a request, in which it completes without files beside its media."""

WRITERS: Mapping[Sidecar, tuple[str, Callable[[VideoInfo], bytes]]] = {
    "info": ("json", write_info),
    "nfo": ("nfo", write_nfo),
}
"""File extension and content of each generated sidecar."""


def with_thumbnail(event: SelectedVideo, url: str) -> SelectedVideo:
    """Return an event with its thumbnail as the last source."""
    first = event.sources[0]
    thumbnail = SelectedSource(
        format=VideoFormat(
            format_id=f"{first.file_id}{THUMBNAIL_SUFFIX}", container="jpg", picture=1
        ),
        url=url,
        headers=first.headers,
        cookies=first.cookies,
    )
    return replace(event, sources=(*event.sources, thumbnail))


class SidecarProvider:
    """Provides the sidecars of posts.

    Args:
        files: provides the thumbnails.
        storage: target of the generated sidecars.
    """

    def __init__(self, files: FileProvider, storage: Storage) -> None:
        self._files = files
        self._storage = storage

    async def fetch(
        self, row: Mapping[str, StoredFile], task: DownloadTask
    ) -> dict[str, StoredFile]:
        """Return the thumbnail of `with_thumbnail` by its file id; empty when it cannot be fetched.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        source = task.event.sources[-1]
        limits = replace(
            task.limits,
            max_bytes=min(task.limits.max_bytes, THUMBNAIL_BYTES_MAX),
            total_seconds=min(task.limits.total_seconds, THUMBNAIL_SECONDS),
        )
        # Progress and budget are those of all files.
        own_task = dataclasses.replace(task, limits=limits)
        try:
            async with asyncio.timeout(extra_seconds(task.event.job, WAIT_SECONDS)) as bound:
                file = await self._files.provide(row, source, own_task)
            return {source.file_id: replace(file, sidecar="thumbnail")}
        except TimeoutError:
            if not bound.expired():
                raise
            reason = "there was no time left for it"
        except ClipmillError as error:
            if error.code in STORAGE_ERROR_CODES:
                raise
            reason = str(error)
        logger.warning("%s has no thumbnail: %s", task.event.video.key, reason)
        self._files.skip(source, task)
        return {}

    async def write(self, event: SelectedVideo) -> list[StoredFile]:
        """Write the generated sidecars of a request.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        kinds = [kind for kind in WRITERS if kind in event.job.options.sidecars]
        return [await self._write(kind, event) for kind in kinds]

    async def _write(self, kind: Sidecar, event: SelectedVideo) -> StoredFile:
        extension, write = WRITERS[kind]
        content, first = write(event.info), event.sources[0]
        uri, digest = await publish_content(
            self._storage, content, event, format_id=first.file_id, extension=extension
        )
        return StoredFile(
            uri=uri,
            bytes=len(content),
            sha256=digest,
            mime_type=SIDECAR_TYPES[extension],
            format_id=first.format_id,
            sidecar=kind,
        )


async def publish_content(
    storage: Storage, content: bytes, event: SelectedVideo, *, format_id: str, extension: str
) -> tuple[str, str]:
    """Publish a generated file of a post, atomically; return its URI and its SHA-256 (hex).

    Raises:
        ClipmillError: see `Storage.publish`.
    """
    async with storage.workspace() as directory:
        path = directory / "generated"
        async with open_hashing_file(path) as file:
            await file.write(content)
            digest = await file.finish()
        uri = await storage.publish(
            path,
            platform=event.video.platform,
            video_id=event.video.id,
            format_id=format_id,
            extension=extension,
            sha256=digest,
            details=PostDetails.of(event.info),
        )
    return uri, digest


def extra_seconds(job: Job, most: float) -> float:
    """Return the time that is left for files beside the media, at most this many seconds."""
    if job.deadline is None:
        return most
    left = (job.deadline - datetime.now(UTC)).total_seconds()
    return min(most, left - SPARE_SECONDS)
