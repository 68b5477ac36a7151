"""download: fetch the chosen format into storage, whole and checked, and tell how far it is.

Events of one video come one after the other: the second asker finds the first one's file.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import msgspec

from agents.caching.rows import is_over
from agents.egress import open_egress
from agents.letters import report_progress
from agents.network.download import Fetched, FetchLimits, MediaDownloader, MediaFetcher
from agents.network.session import open_session
from agents.outcomes import completed, expired
from agents.platforms.registry import Platforms
from agents.progress import ProgressMeter
from agents.step import Finished, Product, bug_handler, step_handler
from agents.storage.interface import Storage
from agents.storage.local import LocalStorage
from schemas.codec import MalformedMessageError, decode, encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.job import Job
from schemas.progress import Progress
from streams.metrics import BYTES, CACHE, DISK_FREE
from streams.records import Effect, TableWrite
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import SELECTED

NAME = "download"
TABLE = "files"
SWEEP_SECONDS = 600.0


class KnownFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the finished files of a video by format, and the epoch second up to which they count.

    Keyed by video like the records of the stage: so the row, and later its tombstone, are written
    to the partition of the table that is restored along with these records.
    """

    expires_at: float
    files: dict[str, StoredFile]


class Download:
    """The stage's work."""

    def __init__(
        self,
        platforms: Platforms,
        fetcher: MediaFetcher,
        storage: Storage,
        context: StageContext,
    ) -> None:
        self._platforms = platforms
        self._fetcher = fetcher
        self._storage = storage
        self._context = context
        self._settings = context.settings

    async def work(self, event: SelectedVideo) -> Product:
        """Return the outcome with the file, fetched now or found."""
        known = self._known(event.video.key)
        found = await self._find(known, event)
        if found is not None:
            CACHE.labels("files", "hit").inc()
            return _done(event, msgspec.structs.replace(found, reused=True))
        CACHE.labels("files", "miss").inc()
        seconds = self._seconds_left(event.job)
        try:
            async with asyncio.timeout(seconds) as bound:
                file = await self._fetch(event)
        except TimeoutError:
            if not bound.expired():
                raise
            return self._out_of_time(event.job, seconds)
        BYTES.labels(event.video.platform).inc(file.bytes)
        return _done(event, file, (self._remember(event, file, known),))

    def _known(self, key: str) -> dict[str, StoredFile]:
        row = self._context.tables[TABLE].get(key)
        with suppress(MalformedMessageError):
            return {} if row is None else decode(row, KnownFiles).files
        return {}

    async def _find(
        self, known: Mapping[str, StoredFile], event: SelectedVideo
    ) -> StoredFile | None:
        file = known.get(event.source.format.format_id)
        if file is None or event.job.options.refresh:
            return None
        if file.bytes > (event.job.options.max_bytes or file.bytes):
            return None
        return file if await self._storage.stat(file.uri) == file.bytes else None

    def _remember(
        self, event: SelectedVideo, file: StoredFile, known: Mapping[str, StoredFile]
    ) -> TableWrite:
        expires_at = time.time() + self._settings.cache.file_seconds
        row = KnownFiles(expires_at=expires_at, files={**known, file.format_id: file})
        return TableWrite(TABLE, event.video.key, encode(row))

    async def _fetch(self, event: SelectedVideo) -> StoredFile:
        platform = self._platforms.by_name(event.video.platform)
        chosen = event.source.format
        meter = ProgressMeter(event.job.request_id, event.video.key, chosen)
        async with self._storage.workspace() as directory:
            target = directory / "media"
            fetched = await platform.download_video(
                event.source,
                target,
                self._fetcher,
                limits=fetch_limits(self._settings, event.job),
                on_progress=lambda done, total: self._tell(meter.update(done, total), event.job),
            )
            self._tell(meter.finish(fetched.bytes), event.job)
            uri = await self._storage.publish(
                target,
                platform=event.video.platform,
                video_id=event.video.id,
                format_id=chosen.format_id,
                extension=chosen.container,
            )
        return _stored(event, fetched, uri)

    def _tell(self, progress: Progress | None, job: Job) -> None:
        if progress is not None:
            self._context.supplement(report_progress(progress, job, NAME))

    def _seconds_left(self, job: Job) -> float:
        limit = self._settings.download.deadline_seconds
        if job.deadline is None:
            return limit
        return min(limit, (job.deadline - datetime.now(UTC)).total_seconds())

    def _out_of_time(self, job: Job, seconds: float) -> Product:
        limit = self._settings.download.deadline_seconds
        if seconds < limit:
            return Finished(expired(job, NAME))
        raise ClipmillError(
            ErrorCode.NETWORK_TIMEOUT, f"the download took longer than {limit:.0f} s"
        )


def fetch_limits(settings: Settings, job: Job) -> FetchLimits:
    """Return the bounds of a job's download: the settings', or the client's when tighter."""
    download = settings.download
    return FetchLimits(
        connect_seconds=download.connect_timeout_seconds,
        stall_seconds=download.stall_timeout_seconds,
        total_seconds=download.deadline_seconds,
        max_bytes=min(download.file_bytes, job.options.max_bytes or download.file_bytes),
    )


def _stored(event: SelectedVideo, fetched: Fetched, uri: str) -> StoredFile:
    chosen = event.source.format
    return StoredFile(
        uri=uri,
        bytes=fetched.bytes,
        sha256=fetched.sha256,
        mime_type=fetched.mime_type,
        format_id=chosen.format_id,
        width=chosen.width,
        height=chosen.height,
        duration_seconds=event.info.duration_seconds,
        codec=chosen.video_codec or chosen.audio_codec,
        watermarked=chosen.watermarked,
    )


def _done(event: SelectedVideo, file: StoredFile, writes: tuple[TableWrite, ...] = ()) -> Finished:
    outcome = completed(
        event.job, event.info, cache=event.cache, engine=event.engine, files=(file,)
    )
    return Finished(outcome, writes)


@asynccontextmanager
async def open_download(context: StageContext) -> AsyncIterator[Handler]:
    """Open the way out and the storage."""
    settings = context.settings
    table = context.tables[TABLE]

    def sweep() -> Sequence[Effect]:
        now = time.time()
        forgotten = [key for key, row in table.items() if is_over(row, now)]
        return [TableWrite(TABLE, key, None) for key in forgotten]

    async with (
        open_session(open_egress(settings)) as session,
        LocalStorage.open(settings.data_dir) as storage,
    ):
        context.sweeps.append((SWEEP_SECONDS, sweep))
        DISK_FREE.set(await storage.free_bytes())
        work = Download(Platforms.load(), MediaDownloader(session), storage, context)
        yield step_handler(NAME, SelectedVideo, work.work)


stage = Stage(
    name=NAME,
    sources=(SELECTED,),
    open=open_download,
    on_bug=bug_handler(NAME, SelectedVideo),
    tables=(TABLE,),
    concurrency=lambda settings: settings.download.concurrency,
)
