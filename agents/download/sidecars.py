"""Sidecars: files beside the media of a post, by request option.

They are named after the first file of the post, as media servers expect it. The thumbnail is
downloaded like a media file. Metadata is written anew by each request that asks for it.
"""

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Mapping

import msgspec
from msgspec.structs import replace

from agents.download.download_task import DownloadTask
from agents.download.extra_time import extra_seconds
from agents.download.file_provider import FileProvider
from agents.download.generated_file import publish_content
from agents.download.nfo import write_nfo
from agents.download.storage_guard import STORAGE_ERROR_CODES
from agents.storage import Storage
from agents.storage.names import THUMBNAIL_SUFFIX
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.files import SIDECAR_TYPES, Sidecar, StoredFile
from schemas.video import SelectedSource, VideoFormat, VideoInfo

logger = logging.getLogger(__name__)

THUMBNAIL_BYTES_MAX = 20 * 2**20
THUMBNAIL_SECONDS = 30.0
"""Of the transfer. A thumbnail does not fail its request, and must not delay it for long."""

WAIT_SECONDS = 60.0
"""With the waits for breaker and rate limiter."""


def _write_info(info: VideoInfo) -> bytes:
    return msgspec.json.format(msgspec.json.encode(info)) + b"\n"


WRITERS: Mapping[Sidecar, tuple[str, Callable[[VideoInfo], bytes]]] = {
    "info": ("json", _write_info),
    "nfo": ("nfo", write_nfo),
}
"""File extension and content of each generated sidecar."""


def with_thumbnail(event: SelectedVideo) -> SelectedVideo:
    """Return an event with the thumbnail as its last source, if the request asks for it."""
    url = event.info.thumbnail_url
    if "thumbnail" not in event.job.options.sidecars or url is None:
        return event
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
        """Return the thumbnail of `with_thumbnail` by its id; nothing when it cannot be fetched.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        source = task.event.sources[-1]
        if not source.format_id.endswith(THUMBNAIL_SUFFIX):
            return {}
        try:
            file = await self._provide(row, source, _thumbnail_task(task))
        except ClipmillError as error:
            if error.code in STORAGE_ERROR_CODES:
                raise
            logger.warning("%s has no thumbnail: %s", task.event.video.key, error)
            self._files.skip(source, task)
            return {}
        return {source.file_id: replace(file, sidecar="thumbnail")}

    async def _provide(
        self, row: Mapping[str, StoredFile], source: SelectedSource, task: DownloadTask
    ) -> StoredFile:
        try:
            async with asyncio.timeout(extra_seconds(task.event.job, WAIT_SECONDS)) as bound:
                return await self._files.provide(row, source, task)
        except TimeoutError:
            if not bound.expired():
                raise
            message = "there was no time left for it"
            raise ClipmillError(ErrorCode.NETWORK_TIMEOUT, message) from None

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
        published = await publish_content(
            self._storage, content, event, format_id=first.file_id, extension=extension
        )
        return StoredFile(
            uri=published.uri,
            bytes=len(content),
            sha256=published.sha256,
            mime_type=SIDECAR_TYPES[extension],
            format_id=first.format_id,
            sidecar=kind,
        )


def _thumbnail_task(task: DownloadTask) -> DownloadTask:
    """Return a task with the limits of thumbnails; progress and budget are shared."""
    limits = replace(
        task.limits,
        max_bytes=min(task.limits.max_bytes, THUMBNAIL_BYTES_MAX),
        total_seconds=min(task.limits.total_seconds, THUMBNAIL_SECONDS),
    )
    return dataclasses.replace(task, limits=limits)
