"""Files that are there already: nothing is fetched twice.

A row of the stage's table knows the finished files of a video. What is not in it may be in the
storage all the same: a worker was killed after it had stored a file and before its row was
written, or another file of the same post failed. A file in the storage is whole.
"""

import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

import msgspec

from agents.pipeline.cache_invalidation import invalidated_at
from agents.storage.interface import Found, Storage
from schemas.codec import MalformedMessageError, decode, encode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.video import SelectedSource
from streams.records import TableWrite
from streams.stage import StageContext

TABLE = "files"


class KnownFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the finished files of a video by `SelectedSource.file_id`.

    Keyed by video like the records of the stage: so the row, and later its tombstone, are written
    to the partition of the table that is restored along with these records.

    Attributes:
        expires_at: epoch second up to which they count.
        fetched_at: epoch second of the newest fetch; they all counted then.
        files: by that.
    """

    expires_at: float
    fetched_at: float
    files: dict[str, StoredFile]


class StoredFileIndex:
    """Finds what is known of the files of a post.

    Args:
        storage: where files are.
        context: the stage's; has the rows.
    """

    def __init__(self, storage: Storage, context: StageContext) -> None:
        self._storage = storage
        self._context = context
        self._seconds = context.settings.cache.file_seconds

    def row(self, key: str) -> Mapping[str, StoredFile]:
        """Return what the row of a video knows, by `SelectedSource.file_id`."""
        row = self._context.tables[TABLE].get(key)
        refreshed = invalidated_at(self._context.signals, key)
        with suppress(MalformedMessageError):
            known = None if row is None else decode(row, KnownFiles)
            if known and (refreshed is None or known.fetched_at >= refreshed.timestamp()):
                return known.files
        return {}

    async def known(
        self, row: Mapping[str, StoredFile], source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        """Return the file of a source as the row knows it, if it is still there as it was."""
        file = row.get(source.file_id)
        if file is None or event.job.options.refresh or _is_too_large(file.bytes, event):
            return None
        return file if await self._storage.stat(file.uri) == file.bytes else None

    async def stored(
        self, row: Mapping[str, StoredFile], source: SelectedSource, event: SelectedVideo
    ) -> Found | None:
        """Return a file of a source that is in the storage although no row knows it.

        What a row knows otherwise is not believed, nor what is older than a row may get. Where
        the user wants all anew, only what was fetched since the request came in counts.
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
        return found if found.published_at >= self._since(event) else None

    def remember(
        self,
        event: SelectedVideo,
        files: Mapping[str, StoredFile],
        row: Mapping[str, StoredFile],
        began: float,
    ) -> TableWrite:
        """Return the row with these files; ``began`` is the epoch second before the first fetch."""
        known = KnownFiles(
            expires_at=time.time() + self._seconds, fetched_at=began, files={**row, **files}
        )
        return TableWrite(TABLE, event.video.key, encode(known))

    def _since(self, event: SelectedVideo) -> float:
        refreshed = invalidated_at(self._context.signals, event.video.key)
        asked = event.job.received_at if event.job.options.refresh else None
        moments = (refreshed, asked, datetime.fromtimestamp(time.time() - self._seconds, UTC))
        return max(moment.timestamp() for moment in moments if moment is not None)


def _is_too_large(size: int, event: SelectedVideo) -> bool:
    limit = event.job.options.max_bytes
    return limit is not None and size > limit
