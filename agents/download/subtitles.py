"""Subtitles beside the media of a post.

They are named after the first file of the post: found in the storage, or downloaded, converted and
published. Subtitles that cannot be had are missing in the result, with a reason, and fail no
request.
"""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial

import msgspec
from msgspec.structs import replace

from agents.download.bounded_gather import gather_bounded
from agents.download.download_task import DownloadTask
from agents.download.file_index import StoredFileIndex
from agents.download.sidecars import extra_seconds, publish_content
from agents.download.source_download import SourceDownloader
from agents.download.storage_guard import STORAGE_ERROR_CODES
from agents.resilience.breaker_rules import FAILURES
from agents.storage import FileGoneError, Storage
from agents.storage.names import subtitles_id
from agents.storage.writing import digest_of
from agents.subtitles.cues import Cue
from agents.subtitles.reading import read_subtitles, write_subtitles
from schemas import ClipmillError, ErrorCode, SelectedSource, StoredFile, VideoFormat
from schemas.redaction import redact
from schemas.subtitles import SUBTITLE_TYPES, MissingSubtitles, SubtitleFormat, SubtitleSource
from streams.observability.metrics import BYTES

logger = logging.getLogger(__name__)

BYTES_MAX = 5 * 2**20
"""Of the subtitles of a language as the platform serves them; those of a film have 0.2 MB."""

SECONDS = 60.0
"""For one language: a playlist of a film has 1,200 segments."""

ALL_SECONDS = 120.0
"""For all languages of a request, which wait for them beside their media."""

CONCURRENCY = 4
"""Languages in progress per request."""

LANGUAGES_AT_ONCE = 8
"""Languages in progress per process: each has `BYTES_MAX` in memory, and its cues."""

CONVERSIONS_AT_ONCE = 2
"""Readings per process: the longest takes 50 MB, and two seconds of processor time."""

FAILURES_MAX = 3
"""Failed downloads per request, after which no further language is tried: the host is down, or
limits its rate."""

OUTAGES = FAILURES - {ErrorCode.PLATFORM_CHANGED}
"""Codes of failed downloads. ``platform.changed`` is none: a foreign host is not called, and any
other one has answered."""

REASON_CHARACTERS = 300


class ProvidedSubtitles(msgspec.Struct, frozen=True, kw_only=True):
    """Stored subtitles by file id, and the missing ones."""

    files: dict[str, StoredFile]
    missing: tuple[MissingSubtitles, ...]


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
        self._languages = asyncio.Semaphore(LANGUAGES_AT_ONCE)
        self._conversions = asyncio.Semaphore(CONVERSIONS_AT_ONCE)

    async def provide(self, row: Mapping[str, StoredFile], task: DownloadTask) -> ProvidedSubtitles:
        """Return the subtitles of an event, from the storage or downloaded.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        sources = task.event.subtitles
        job = _SubtitleJob(
            self._sources,
            self._index,
            self._storage,
            languages=self._languages,
            conversions=self._conversions,
            row=row,
            task=task,
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


class _SubtitleJob:
    """The subtitles of one event.

    Args:
        sources: downloads them.
        index: index of the stored files.
        storage: target of the files.
        languages: limits the languages in progress of the process; waits are FIFO.
        conversions: limits the readings of the process.
        row: of the index.
        task: of the event.
    """

    def __init__(
        self,
        sources: SourceDownloader,
        index: StoredFileIndex,
        storage: Storage,
        *,
        languages: asyncio.Semaphore,
        conversions: asyncio.Semaphore,
        row: Mapping[str, StoredFile],
        task: DownloadTask,
    ) -> None:
        self._sources = sources
        self._index = index
        self._storage = storage
        self._languages = languages
        self._conversions = conversions
        self._row = row
        self._task = task
        self._failures = 0
        self.files: dict[SubtitleSource, dict[str, StoredFile]] = {}
        self.reasons: dict[SubtitleSource, str] = {}

    async def provide(self, source: SubtitleSource) -> None:
        """Provide every format of a language, or record the reason why not."""
        try:
            self.files[source] = await self._provide(source)
        except ClipmillError as error:
            if error.code in STORAGE_ERROR_CODES:
                raise
            video = self._task.event.video.key
            logger.warning("%s has no subtitles in %s: %s", video, source.language, error)
            self.reasons[source] = redact(f"{error.code}: {error.message}")[:REASON_CHARACTERS]

    async def _provide(self, source: SubtitleSource) -> dict[str, StoredFile]:
        formats = dict.fromkeys(self._task.event.job.options.subtitle_formats)
        found = {each: await self._find(source, each) for each in formats}
        lacking = [each for each, file in found.items() if file is None]
        made = await self._make(source, lacking) if lacking else {}
        return {self._file_id(source, each): found[each] or made[each] for each in formats}

    async def _find(self, source: SubtitleSource, extension: SubtitleFormat) -> StoredFile | None:
        """Return a stored file, also one that is missing from the index."""
        event = self._task.event
        stored = SelectedSource(
            format=VideoFormat(format_id=self._file_id(source, extension), container=extension),
            url="",
        )
        known = await self._index.lookup(self._row, stored, event)
        if known is not None:
            self._task.budget.claim(stored.format_id, known.bytes)
            return replace(known, reused=True)
        found = await self._index.find_unindexed(self._row, stored, event)
        if found is None:
            return None
        try:
            async with self._storage.reading(found.uri) as path:
                digest = await digest_of(path)
        except FileGoneError:
            return None
        self._task.budget.claim(stored.format_id, found.bytes)
        file = self._described(source, extension, found.uri, found.bytes, digest)
        return replace(file, reused=True)

    async def _make(
        self, source: SubtitleSource, extensions: list[SubtitleFormat]
    ) -> dict[SubtitleFormat, StoredFile]:
        async with self._languages:
            cues = await self._read(source)
            return {each: await self._publish(source, cues, each) for each in extensions}

    async def _read(self, source: SubtitleSource) -> tuple[Cue, ...]:
        if source.text is not None:
            bodies = [source.text.encode("utf-8", "replace")]
        else:
            bodies = await self._download(source)
        async with self._conversions:
            return await asyncio.to_thread(read_subtitles, bodies)

    async def _download(self, source: SubtitleSource) -> list[bytes]:
        if self._failures >= FAILURES_MAX:
            raise ClipmillError(
                ErrorCode.NETWORK_CONNECTION, f"{FAILURES_MAX} other languages failed before"
            )
        limits = replace(
            self._task.limits,
            max_bytes=min(self._task.limits.max_bytes, BYTES_MAX),
            total_seconds=min(self._task.limits.total_seconds, SECONDS),
        )
        try:
            bodies = await self._sources.download_subtitles(source, self._task, limits)
        except ClipmillError as error:
            self._failures += error.code in OUTAGES
            raise
        BYTES.labels(self._task.event.video.platform).inc(sum(map(len, bodies)))
        return bodies

    async def _publish(
        self, source: SubtitleSource, cues: tuple[Cue, ...], extension: SubtitleFormat
    ) -> StoredFile:
        content, file_id = write_subtitles(cues, extension), self._file_id(source, extension)
        self._task.budget.claim(file_id, len(content))
        uri, digest = await publish_content(
            self._storage, content, self._task.event, format_id=file_id, extension=extension
        )
        return self._described(source, extension, uri, len(content), digest)

    def _file_id(self, source: SubtitleSource, extension: SubtitleFormat) -> str:
        media = self._task.event.sources[0].file_id
        return subtitles_id(media, source.language, extension, automatic=source.automatic)

    def _described(
        self, source: SubtitleSource, extension: SubtitleFormat, uri: str, size: int, digest: str
    ) -> StoredFile:
        return StoredFile(
            uri=uri,
            bytes=size,
            sha256=digest,
            mime_type=SUBTITLE_TYPES[extension],
            format_id=self._task.event.sources[0].format_id,
            sidecar="subtitles",
            language=source.language,
            automatic=source.automatic,
        )
