"""download: fetch the chosen files into storage, whole and checked, and tell how far it is.

Events of one post come one after the other: the second asker finds the first one's files.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import msgspec

from agents.access.egress import open_egresses
from agents.access.gate import OutboundGate, installed_plugins
from agents.caching.row_expiry import no_longer_kept
from agents.download.bounded_gather import gather_bounded, running
from agents.download.download_task import DownloadTask
from agents.download.file_fetcher import FileFetcher
from agents.download.file_index import TABLE, StoredFileIndex
from agents.download.storage_guard import CODES, StorageGuard
from agents.download.verification import FileVerifier, check_sound
from agents.media.checking import no_sound
from agents.media.prober import open_prober
from agents.media.remuxer import open_remuxer
from agents.network.bandwidth import Bandwidth
from agents.network.download import MediaDownloader
from agents.network.session import CONNECTIONS, open_session
from agents.pipeline.request_claims import claim_of_selected
from agents.pipeline.results import completed, expired
from agents.pipeline.step import Complete, StepOutcome, bug_handler, step_handler
from agents.platforms.registry import Platforms
from agents.storage.local import LocalStorage
from schemas.errors import ClipmillError
from schemas.events import SelectedVideo
from schemas.files import StoredFile
from schemas.job import Job
from schemas.video import SelectedSource
from streams.observability.metrics import CACHE_REQUESTS
from streams.records import Effect, TableWrite
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import SELECTED

NAME = "download"
SWEEP_SECONDS = 600.0

ROWS_BYTES_MAX = 128 * 2**20
"""Memory of all rows of one process: some 200,000 videos at 650 bytes each, or 10,000 photo posts
of 35 pictures. Beyond that those are forgotten that would be next; the storage still has their
files."""

STORAGE_TRIES = 5
"""Tries of one event that the storage fails, each after it works again. An event that fails so
often is parked: its file may be larger than the disk, and must not stop all others for ever."""

FILES_AT_A_TIME = 4
"""Of one post: enough to hide the way to the server, and little for one host to serve."""


class Download:
    """The stage's work.

    Args:
        fetching: gets files into the storage.
        shelf: knows those that are there.
        outage: notices when the storage takes nothing.
        context: the stage's.
    """

    def __init__(
        self,
        fetching: FileFetcher,
        shelf: StoredFileIndex,
        *,
        outage: StorageGuard,
        context: StageContext,
    ) -> None:
        self._fetching = fetching
        self._shelf = shelf
        self._outage = outage
        self._context = context

    async def work(self, event: SelectedVideo) -> StepOutcome:
        """Return the outcome with the files, fetched now or found."""
        try:
            async with asyncio.timeout(_seconds_left(event.job)) as bound:
                return await self._provide_despite_outages(event)
        except TimeoutError:
            if not bound.expired():
                raise
            return Complete(expired(event.job, NAME))

    async def _provide_despite_outages(self, event: SelectedVideo) -> StepOutcome:
        """Have every file; an event that meets an outage of the storage goes on when that ends.

        It stays in flight meanwhile, like the events that were taken before the outage, and
        uncommitted: a kill loses nothing. In a delay topic it would wait on although there is room.

        Raises:
            ClipmillError: the storage works, and still fails for this event.
        """
        tries = 0
        while True:
            await self._context.intake.opened()
            try:
                with self._outage.watching_failures():
                    return await self._provide(event)
            except ClipmillError as error:
                tries += 1
                if error.code not in CODES or tries == STORAGE_TRIES:
                    raise

    async def _provide(self, event: SelectedVideo) -> StepOutcome:
        """Have every file. What is stored when one fails is found by the next try."""
        began, row = time.time(), self._shelf.row(event.video.key)
        errand = DownloadTask.of(event, self._context.settings)
        works = [partial(self._have, row, source, errand) for source in event.sources]
        files = await gather_bounded(works, FILES_AT_A_TIME)
        writes: tuple[TableWrite, ...] = ()
        ids = [source.file_id for source in event.sources]
        if not all(each.reused and id_ in row for id_, each in zip(ids, files, strict=True)):
            new = {id_: _as_fetched(each) for id_, each in zip(ids, files, strict=True)}
            writes = (self._shelf.remember(event, new, row, began),)
        return _done(event, tuple(files), writes)

    async def _have(
        self, row: Mapping[str, StoredFile], source: SelectedSource, errand: DownloadTask
    ) -> StoredFile:
        """Return a file that was there already, or is now."""
        format_id = source.format_id
        try:
            file = await self._find(row, source, errand.event)
            if file is None:
                made = await self._made_of_stored(row, source, errand)
                return check_sound(made or await self._fetching.fetch(source, errand), source)
            file = check_sound(file, source)
            errand.budget.claim(format_id, file.bytes)
        except ClipmillError as error:
            error.format_id = error.format_id or source.format.format_id
            raise
        self._fetching.note(errand, format_id, file.bytes, reused=True)
        return msgspec.structs.replace(file, reused=True)

    async def _made_of_stored(
        self, row: Mapping[str, StoredFile], source: SelectedSource, errand: DownloadTask
    ) -> StoredFile | None:
        """Return the sound of a video that is stored already; None when that is not there."""
        if not source.sound_only:
            return None
        whole = msgspec.structs.replace(source, sound_only=False)
        video = await self._find(row, whole, errand.event)
        if video is not None and video.audio_codec is None:
            raise no_sound(source.format.format_id)
        return None if video is None else await self._fetching.take_sound(video, source, errand)

    async def _find(
        self, row: Mapping[str, StoredFile], source: SelectedSource, event: SelectedVideo
    ) -> StoredFile | None:
        known = await self._shelf.known(row, source, event)
        _count("table", known)
        if known is not None:
            return known
        found = await self._shelf.stored(row, source, event)
        file = None if found is None else await self._fetching.adopt(found, source, event)
        _count("storage", file)
        return file


def _count(level: str, file: StoredFile | None) -> None:
    outcome = "miss" if file is None else "hit"
    CACHE_REQUESTS.labels(NAME, "files", level, outcome).inc()


def _as_fetched(file: StoredFile) -> StoredFile:
    return msgspec.structs.replace(file, reused=False)


def _seconds_left(job: Job) -> float | None:
    if job.deadline is None:
        return None
    return (job.deadline - datetime.now(UTC)).total_seconds()


def _done(
    event: SelectedVideo, files: tuple[StoredFile, ...], writes: tuple[TableWrite, ...]
) -> Complete:
    pictures = any(source.format.picture for source in event.sources)
    outcome = completed(
        event.job,
        event.info,
        cache=event.cache,
        engine=event.engine,
        files=files,
        partial=pictures and bool(event.info.missing_pictures),
    )
    return Complete(outcome, writes)


@asynccontextmanager
async def open_download(context: StageContext) -> AsyncIterator[Handler]:
    """Open the ways out, the storage and the one who looks into files."""
    settings = context.settings
    table = context.tables[TABLE]

    def sweep() -> Sequence[Effect]:
        forgotten = no_longer_kept(dict(table.items()), time.time(), ROWS_BYTES_MAX)
        return [TableWrite(TABLE, key, None) for key in forgotten]

    async with AsyncExitStack() as stack:
        fetchers = await open_fetchers(settings, stack)
        storage = await stack.enter_async_context(LocalStorage.open(settings.data_dir))
        outage = StorageGuard(storage, context.intake, settings.download)
        await stack.enter_async_context(running(outage.watch()))
        prober = await stack.enter_async_context(open_prober())
        remuxer = await stack.enter_async_context(open_remuxer())
        context.sweeps.append((SWEEP_SECONDS, sweep))
        fetching = FileFetcher(
            Platforms.load(context.settings.platforms),
            fetchers,
            storage,
            gate=OutboundGate("download", tuple(fetchers), context, plugins=installed_plugins()),
            outage=outage,
            examiner=FileVerifier(prober if settings.download.probe else None),
            remuxer=remuxer,
            context=context,
        )
        work = Download(fetching, StoredFileIndex(storage, context), outage=outage, context=context)
        yield step_handler(NAME, SelectedVideo, work.work, context.signals)


async def open_fetchers(settings: Settings, stack: AsyncExitStack) -> dict[str, MediaDownloader]:
    """Return a fetcher for each way out; they share the bandwidth."""
    bandwidth = Bandwidth(settings.download.bytes_per_second)
    connections = max(CONNECTIONS, settings.limits.download_tasks)
    fetchers: dict[str, MediaDownloader] = {}
    for name, egress in open_egresses(settings).items():
        session = await stack.enter_async_context(open_session(egress, connections=connections))
        fetchers[name] = MediaDownloader(session, bandwidth=bandwidth)
    return fetchers


stage = Stage(
    name=NAME,
    sources=(SELECTED,),
    open=open_download,
    on_bug=bug_handler(NAME, SelectedVideo),
    tables=(TABLE,),
    claim=claim_of_selected,
)
