"""download: fetch the chosen format into storage, whole and checked, and tell how far it is.

Events of one video come one after the other: the second asker finds the first one's file.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agents.attempting import Gate
from agents.background import running
from agents.caching.rows import is_over
from agents.egress import open_egresses
from agents.freshness import refreshed_at
from agents.letters import report_progress
from agents.network.download import Fetched, FetchLimits, MediaDownloader, MediaFetcher
from agents.network.session import open_session
from agents.outage import StorageOutage
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
from schemas.video import MediaSource
from streams.metrics import BYTES, CACHE
from streams.records import Effect, TableWrite
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import SELECTED

NAME = "download"
TABLE = "files"
SWEEP_SECONDS = 600.0


class KnownFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the finished files of a video by format.

    Keyed by video like the records of the stage: so the row, and later its tombstone, are written
    to the partition of the table that is restored along with these records.

    Attributes:
        expires_at: epoch second up to which they count.
        fetched_at: epoch second of the newest fetch; they all counted then.
        files: by format.
    """

    expires_at: float
    fetched_at: float
    files: dict[str, StoredFile]


class Download:
    """The stage's work.

    Args:
        platforms: the installed ones.
        fetchers: fetch media, one for each way out.
        storage: where files go.
        gate: in front of the fetchers.
        outage: notices when the storage takes nothing.
        context: the stage's.
    """

    def __init__(
        self,
        platforms: Platforms,
        fetchers: Mapping[str, MediaFetcher],
        storage: Storage,
        *,
        gate: Gate,
        outage: StorageOutage,
        context: StageContext,
    ) -> None:
        self._platforms = platforms
        self._fetchers = fetchers
        self._storage = storage
        self._gate = gate
        self._outage = outage
        self._context = context
        self._settings = context.settings

    async def work(self, event: SelectedVideo) -> Product:
        """Return the outcome with the files, fetched now or found.

        What was taken before an outage waits for its end, as what is not yet taken does.
        """
        try:
            async with asyncio.timeout(_seconds_left(event.job)) as bound:
                await self._context.intake.opened()
                with self._outage.noticing():
                    return await self._provide(event)
        except TimeoutError:
            if not bound.expired():
                raise
            return Finished(expired(event.job, NAME))

    async def _provide(self, event: SelectedVideo) -> Product:
        began = time.time()
        known = self._known(event.video.key)
        files: dict[str, StoredFile] = {}
        for source in event.sources:
            file = await self._have(known, source, event)
            files[file.format_id] = file
        writes: tuple[TableWrite, ...] = ()
        if not all(file.reused for file in files.values()):
            writes = (self._remember(event, files, known, began),)
        return _done(event, tuple(files.values()), writes)

    async def _have(
        self, known: Mapping[str, StoredFile], source: MediaSource, event: SelectedVideo
    ) -> StoredFile:
        """Return a file that was there already, or is now."""
        found = await self._find(known, source, event)
        CACHE.labels("files", "miss" if found is None else "hit").inc()
        if found is not None:
            return msgspec.structs.replace(found, reused=True)
        file = await self._fetch(source, event)
        BYTES.labels(event.video.platform).inc(file.bytes)
        return file

    def _known(self, key: str) -> dict[str, StoredFile]:
        row = self._context.tables[TABLE].get(key)
        refreshed = refreshed_at(self._context.signals, key)
        with suppress(MalformedMessageError):
            known = None if row is None else decode(row, KnownFiles)
            if known and (refreshed is None or known.fetched_at >= refreshed.timestamp()):
                return known.files
        return {}

    async def _find(
        self, known: Mapping[str, StoredFile], source: MediaSource, event: SelectedVideo
    ) -> StoredFile | None:
        file = known.get(source.format.format_id)
        if file is None or event.job.options.refresh:
            return None
        if file.bytes > (event.job.options.max_bytes or file.bytes):
            return None
        return file if await self._storage.stat(file.uri) == file.bytes else None

    def _remember(
        self,
        event: SelectedVideo,
        files: Mapping[str, StoredFile],
        known: Mapping[str, StoredFile],
        began: float,
    ) -> TableWrite:
        row = KnownFiles(
            expires_at=time.time() + self._settings.cache.file_seconds,
            fetched_at=began,
            files={**known, **files},
        )
        return TableWrite(TABLE, event.video.key, encode(row))

    async def _fetch(self, source: MediaSource, event: SelectedVideo) -> StoredFile:
        chosen = source.format
        await self._outage.check()
        async with self._storage.workspace() as directory:
            target = directory / "media"
            fetched = await self._gate.run(
                event.job,
                platform=event.video.platform,
                subject=event.video.key,
                call=lambda egress: self._fetch_by(egress, source, event, target),
            )
            uri = await self._storage.publish(
                target,
                platform=event.video.platform,
                video_id=event.video.id,
                format_id=chosen.format_id,
                extension=chosen.container,
            )
        return _stored(source, event, fetched, uri)

    async def _fetch_by(
        self, egress: str, source: MediaSource, event: SelectedVideo, target: Path
    ) -> Fetched:
        platform = self._platforms.by_name(event.video.platform)
        meter = ProgressMeter(event.job.request_id, event.video.key, source.format)
        limits = fetch_limits(self._settings, event.job)
        try:
            async with asyncio.timeout(limits.total_seconds) as bound:
                fetched = await platform.download_video(
                    source,
                    target,
                    self._fetchers[egress],
                    limits=limits,
                    on_progress=lambda done, size: self._tell(meter.update(done, size), event.job),
                )
        except TimeoutError:
            if not bound.expired():
                raise
            raise _too_slow(limits) from None
        self._tell(meter.finish(fetched.bytes), event.job)
        return fetched

    def _tell(self, progress: Progress | None, job: Job) -> None:
        if progress is not None:
            self._context.supplement(report_progress(progress, job, NAME))


def _seconds_left(job: Job) -> float | None:
    if job.deadline is None:
        return None
    return (job.deadline - datetime.now(UTC)).total_seconds()


def _too_slow(limits: FetchLimits) -> ClipmillError:
    message = f"the download took longer than {limits.total_seconds:.0f} s"
    return ClipmillError(ErrorCode.NETWORK_TIMEOUT, message)


def fetch_limits(settings: Settings, job: Job) -> FetchLimits:
    """Return the bounds of a job's download: the settings', or the client's when tighter."""
    download = settings.download
    return FetchLimits(
        connect_seconds=download.connect_timeout_seconds,
        stall_seconds=download.stall_timeout_seconds,
        total_seconds=download.deadline_seconds,
        max_bytes=min(download.file_bytes, job.options.max_bytes or download.file_bytes),
    )


def _stored(source: MediaSource, event: SelectedVideo, fetched: Fetched, uri: str) -> StoredFile:
    chosen = source.format
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


def _done(
    event: SelectedVideo, files: tuple[StoredFile, ...], writes: tuple[TableWrite, ...]
) -> Finished:
    outcome = completed(event.job, event.info, cache=event.cache, engine=event.engine, files=files)
    return Finished(outcome, writes)


@asynccontextmanager
async def open_download(context: StageContext) -> AsyncIterator[Handler]:
    """Open the ways out and the storage."""
    settings = context.settings
    table = context.tables[TABLE]

    def sweep() -> Sequence[Effect]:
        now = time.time()
        forgotten = [key for key, row in table.items() if is_over(row, now)]
        return [TableWrite(TABLE, key, None) for key in forgotten]

    async with AsyncExitStack() as stack:
        fetchers: dict[str, MediaFetcher] = {
            name: MediaDownloader(await stack.enter_async_context(open_session(egress)))
            for name, egress in open_egresses(settings).items()
        }
        storage = await stack.enter_async_context(LocalStorage.open(settings.data_dir))
        outage = StorageOutage(storage, context.intake, settings.download)
        await stack.enter_async_context(running(outage.watch()))
        context.sweeps.append((SWEEP_SECONDS, sweep))
        gate = Gate("download", tuple(fetchers), context)
        work = Download(
            Platforms.load(), fetchers, storage, gate=gate, outage=outage, context=context
        )
        yield step_handler(NAME, SelectedVideo, work.work, context.signals)


stage = Stage(
    name=NAME,
    sources=(SELECTED,),
    open=open_download,
    on_bug=bug_handler(NAME, SelectedVideo),
    tables=(TABLE,),
    concurrency=lambda settings: settings.download.concurrency,
)
