"""Index of stored files, so that no file is downloaded twice.

A row of the stage's table lists the finished files of a video. A file without a row may still be in
the storage: a worker was killed between publishing the file and writing the row, or another file of
the same post failed. Files in the storage are always complete, as publication is atomic.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from agents.caching.row_expiry import keys_to_evict
from agents.download.retention import record_requester, requester_id
from agents.pipeline.stage_caches import invalidated_at
from agents.pipeline.worker_states import publish_cache_states
from agents.storage.interface import PublishedFile, Storage
from agents.storage.withheld_posts import release
from schemas.codec import MalformedMessageError, decode, encode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.video import SelectedSource
from streams.observability.metrics import (
    CACHE_BYTES,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_REQUESTS,
    series,
)
from streams.records import Effect, TableWrite, tombstones
from streams.stage import StageContext

STAGE = "download"

TABLE = "files"

SWEEP_SECONDS = 600.0

MEASURE_SECONDS = 60.0
"""The size of a table costs 40 ns a row."""

ROWS_BYTES_MAX = 128 * 2**20
"""Bytes of all rows of one process: some 200,000 videos at 650 bytes each, or 10,000 photo posts of
35 pictures. Beyond that the rows that expire next are evicted; their files stay in the storage."""

FILES_MAX = 500
"""Files of a row, so that it fits a record with the longest addresses; the newest remain. A page
can name subtitles in new languages each time. Others are found in the storage."""


class StoredFilesRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the finished files of a video.

    Keyed by video like the records of the stage, so the row and its tombstone go to the changelog
    partition that is restored together with the records' partition.

    Attributes:
        expires_at: epoch second of expiry.
        fetched_at: epoch second of the newest download; all files were valid then.
        files: stored files by `SelectedSource.file_id`.
    """

    expires_at: float
    fetched_at: float
    files: dict[str, StoredFile]


class StoredFileIndex:
    """Looks up the stored files of a post.

    Args:
        storage: the storage of the files.
        context: the stage's, with its table.
    """

    def __init__(self, storage: Storage, context: StageContext) -> None:
        self._storage = storage
        self._context = context
        self._seconds = context.settings.cache.file_seconds

    def row(self, key: str) -> Mapping[str, StoredFile]:
        """Return the files of a video's row by `SelectedSource.file_id`; empty if invalidated."""
        row = self._context.tables[TABLE].get(key)
        refreshed = invalidated_at(self._context.shared_state, key)
        with suppress(MalformedMessageError):
            known = None if row is None else decode(row, StoredFilesRow)
            if known and (refreshed is None or known.fetched_at >= refreshed.timestamp()):
                return known.files
        return {}

    async def lookup(
        self, row: Mapping[str, StoredFile], source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        """Return the file of a source from the row, if the storage has it with the same size."""
        file = row.get(source.file_id)
        if file is None or event.job.options.refresh or _is_too_large(file.bytes, event):
            return None
        return file if await self._storage.stat(file.uri) == file.bytes else None

    async def find_unindexed(
        self, row: Mapping[str, StoredFile], source: SelectedSource, event: SelectedVideo
    ) -> PublishedFile | None:
        """Find a file of a source in the storage that is missing from the row.

        A file that contradicts the row is ignored, and so is one older than the TTL of rows. For a
        ``refresh``, only files published since the request was received are valid; a file that
        another post shares may be older than it seems.
        """
        if source.file_id in row and not event.job.options.refresh:
            return None
        found = await self._storage.find(
            platform=event.video.platform,
            video_id=event.video.id,
            format_id=source.file_id,
        )
        if found is None or _is_too_large(found.bytes, event):
            return None
        if event.job.options.refresh and found.content is not None:
            return None
        return found if found.published_at >= self._valid_since(event) else None

    async def find_adopted(self, format_id: str, event: SelectedVideo) -> PublishedFile | None:
        """Find an adopted file of the post in the storage, of any age.

        After an invalidation only files adopted later are valid.
        """
        video = event.video
        refreshed = invalidated_at(self._context.shared_state, video.key)
        found = await self._storage.find(
            platform=video.platform, video_id=video.id, format_id=format_id
        )
        if found is None or _is_too_large(found.bytes, event):
            return None
        is_valid = refreshed is None or found.published_at >= refreshed.timestamp()
        return found if is_valid else None

    async def record_request(self, event: SelectedVideo) -> None:
        """Record what a request that has its files changes: who requested the post.

        After a ``refresh`` the post is not withheld any more.

        Raises:
            ClipmillError: ``system.disk_full`` or ``system.storage``.
        """
        records, video, job = self._storage.records, event.video, event.job
        if job.options.refresh:
            await release(records, video.platform, video.id)
        retention = self._context.settings.storage.retention
        attribute = retention.attribute or ""
        value = job.attributes.get(attribute)
        # Others are not recorded: an attribute may have a value of its own in each request.
        if value in retention.requesters:
            requester = requester_id(attribute, value)
            await record_requester(records, requester, video.platform, video.id)

    def row_with(
        self,
        event: SelectedVideo,
        files: Mapping[str, StoredFile],
        row: Mapping[str, StoredFile],
        started: float,
    ) -> TableWrite:
        """Return the row with new files, within `FILES_MAX`.

        Args:
            event: has the video.
            files: new ones by `SelectedSource.file_id`.
            row: the row before.
            started: epoch second before the first download.
        """
        older = [(id_, file) for id_, file in row.items() if id_ not in files]
        known = StoredFilesRow(
            expires_at=time.time() + self._seconds,
            fetched_at=started,
            files=dict([*older, *files.items()][-FILES_MAX:]),
        )
        return TableWrite(TABLE, event.video.key, encode(known))

    def _valid_since(self, event: SelectedVideo) -> float:
        refreshed = invalidated_at(self._context.shared_state, event.video.key)
        requested = event.job.received_at if event.job.options.refresh else None
        moments = (refreshed, requested, datetime.fromtimestamp(time.time() - self._seconds, UTC))
        return max(moment.timestamp() for moment in moments if moment is not None)


def count_lookup(level: str, file: StoredFile | None) -> None:
    """Count a lookup: ``table`` for the index, ``storage`` for a file that it does not have."""
    outcome = "miss" if file is None else "hit"
    series(CACHE_REQUESTS, STAGE, TABLE, level, outcome).inc()


def sweep_files(context: StageContext) -> None:
    """Schedule the sweep of expired rows, which deletes no file, and the figures of the index."""
    table = context.tables[TABLE]

    def sweep() -> Iterator[Sequence[Effect]]:
        for keys in keys_to_evict(table.slices, time.time(), ROWS_BYTES_MAX):
            # Evictions by the byte limit are rare, and counted as expiries.
            series(CACHE_EVICTIONS, STAGE, TABLE, "ttl").inc(len(keys))
            yield tombstones(TABLE, keys)

    def measure() -> Iterator[Sequence[Effect]]:
        series(CACHE_ENTRIES, STAGE, TABLE, "table").set(len(table))
        series(CACHE_BYTES, STAGE, TABLE, "table").set(table.size_bytes)
        yield ()

    context.periodic.append((SWEEP_SECONDS, sweep))
    context.periodic.append((MEASURE_SECONDS, measure))
    publish_cache_states(STAGE, context)


def _is_too_large(size: int, event: SelectedVideo) -> bool:
    limit = event.job.options.max_bytes
    return limit is not None and size > limit
