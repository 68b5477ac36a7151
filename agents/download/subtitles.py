"""Subtitles beside the media of a post.

They are named after the first file of the post. Subtitles that cannot be had are missing in the
result, with a reason, and fail no request.
"""

import asyncio
from collections.abc import Mapping
from functools import partial

import msgspec

from agents.download.bounded_gather import gather_bounded
from agents.download.download_task import DownloadTask
from agents.download.extra_time import extra_seconds
from agents.download.file_index import StoredFileIndex
from agents.download.source_download import SourceDownloader
from agents.download.subtitle_job import ProcessLimits, SubtitleJob
from agents.storage import Storage
from schemas.files import StoredFile
from schemas.subtitles import MissingSubtitles

ALL_SECONDS = 120.0
"""For all languages of a request, which wait for them beside their media."""

CONCURRENCY = 4


class ProvidedSubtitles(msgspec.Struct, frozen=True, kw_only=True):
    """Subtitles by file id, and those that could not be provided."""

    files: dict[str, StoredFile]
    missing: tuple[MissingSubtitles, ...]


NO_SUBTITLES = ProvidedSubtitles(files={}, missing=())


class SubtitleProvider:
    """Provides the subtitles of posts.

    Args:
        sources: downloads them.
        index: index of the stored files.
        storage: target of the files.
    """

    def __init__(self, sources: SourceDownloader, index: StoredFileIndex, storage: Storage) -> None:
        self._sources = sources
        self._index = index
        self._storage = storage
        self._limits = ProcessLimits()

    async def provide(self, row: Mapping[str, StoredFile], task: DownloadTask) -> ProvidedSubtitles:
        """Return the subtitles of an event, from the storage or downloaded.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        sources = task.event.subtitles
        if not sources:
            return NO_SUBTITLES
        job = SubtitleJob(
            self._sources, self._index, self._storage, limits=self._limits, row=row, task=task
        )
        calls = [partial(job.provide, each) for each in sources]
        try:
            async with asyncio.timeout(extra_seconds(task.event.job, ALL_SECONDS)) as bound:
                await gather_bounded(calls, CONCURRENCY)
        except TimeoutError:
            if not bound.expired():
                raise
        files: dict[str, StoredFile] = {}
        for each in sources:
            files |= job.files.get(each, {})
        missing = tuple(
            MissingSubtitles(
                language=each.language,
                automatic=each.automatic,
                reason=job.reasons.get(each, "there was no time left for them"),
            )
            for each in sources
            if each not in job.files
        )
        return ProvidedSubtitles(files=files, missing=missing)
