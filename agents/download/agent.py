"""download: fetches the selected files into storage, complete and verified; reports progress.

Events are keyed by video and processed in order per key, so a second request of the same post finds
the files of the first.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from msgspec.structs import replace

from agents.access import (
    OutboundGate,
    installed_plugins,
    open_fetchers,
    open_storage,
    public_url,
)
from agents.download.bounded_gather import gather_bounded
from agents.download.download_task import DownloadTask
from agents.download.file_fetcher import FileFetcher
from agents.download.file_index import TABLE, StoredFileIndex, sweep_files
from agents.download.file_provider import FileProvider
from agents.download.post_metadata import with_tags
from agents.download.retention import Retention, restore_index
from agents.download.segments.fetcher import TrackFetcher
from agents.download.segments.store import SegmentStore
from agents.download.sidecars import SidecarProvider, with_thumbnail
from agents.download.source_download import SourceDownloader
from agents.download.storage_guard import STORAGE_ERROR_CODES, StorageGuard
from agents.download.subtitles import SubtitleProvider
from agents.download.verification import open_verifier
from agents.media.remuxer import open_remuxer
from agents.pipeline import (
    STEP_TOPICS,
    Complete,
    StepOutcome,
    bug_handler,
    completed,
    expired,
    step_handler,
)
from agents.pipeline.request_claims import claim_of_selected
from agents.platforms import Platforms
from schemas import ClipmillError, Completed, SelectedVideo, StoredFile
from schemas.subtitles import MissingSubtitles
from streams import ATTEMPTS, PROGRESS, SELECTED, Handler, Stage, StageContext, TableWrite
from streams.media_host_waits import MediaHostWaits, follow_media_host_waits

NAME = "download"

STORAGE_ATTEMPTS_MAX = 5
"""Attempts of one event that fail by the storage, each after it recovered. Then the event is
parked: its file may be larger than the disk, and must not block all others forever."""

FILE_CONCURRENCY = 4
"""Concurrent downloads per post: enough to hide the latency, and a low load for one host."""


class Download:
    """The stage's step.

    Args:
        files: provides the media files.
        index: index of the stored files.
        sidecars: provides the sidecars.
        subtitles: provides the subtitles.
        storage_guard: pauses the intake while the storage fails.
        context: the stage's.
        waits: ends the waits of a video that has its files.
    """

    def __init__(
        self,
        files: FileProvider,
        index: StoredFileIndex,
        sidecars: SidecarProvider,
        subtitles: SubtitleProvider,
        *,
        storage_guard: StorageGuard,
        context: StageContext,
        waits: MediaHostWaits,
    ) -> None:
        self._files = files
        self._index = index
        self._sidecars = sidecars
        self._subtitles = subtitles
        self._storage_guard = storage_guard
        self._context = context
        self._waits = waits

    async def work(self, event: SelectedVideo) -> StepOutcome:
        """Complete with the files, downloaded now or reused; or as expired at the deadline."""
        deadline = event.job.deadline
        seconds = None if deadline is None else (deadline - datetime.now(UTC)).total_seconds()
        try:
            async with asyncio.timeout(seconds) as bound:
                return await self._provide_across_outages(event)
        except TimeoutError:
            if not bound.expired():
                raise
            return Complete(expired(event.job, NAME))

    async def _provide_across_outages(self, event: SelectedVideo) -> StepOutcome:
        """Provide every file, and retry after each storage outage.

        Meanwhile the event stays in flight with its offset uncommitted, so a crash loses nothing.
        A delay topic would hold it beyond the end of the outage.

        Raises:
            ClipmillError: the failure is another one, or `STORAGE_ATTEMPTS_MAX` is reached.
        """
        if event.job.options.embed_metadata:
            event = with_tags(event)
        tries = 0
        while True:
            await self._context.intake.wait_until_open()
            try:
                return await self._provide(event)
            except ClipmillError as error:
                if error.code not in STORAGE_ERROR_CODES:
                    raise
                self._storage_guard.pause_intake(error)
                tries += 1
                if tries == STORAGE_ATTEMPTS_MAX:
                    raise

    async def _provide(self, event: SelectedVideo) -> StepOutcome:
        """Provide every file. Files stored before one fails are reused by the next attempt."""
        settings, sidecars = self._context.settings, event.job.options.sidecars
        started, row = time.time(), self._index.row(event.video.key)
        thumbnail = event.info.thumbnail_url if "thumbnail" in sidecars else None
        task = DownloadTask.of(with_thumbnail(event, thumbnail) if thumbnail else event, settings)
        calls = [partial(self._files.provide, row, source, task) for source in event.sources]
        files = await gather_bounded(calls, FILE_CONCURRENCY)
        await self._index.record_request(event)
        beside = await self._sidecars.fetch(row, task) if thumbnail else {}
        missing = event.missing_subtitles
        if event.subtitles:
            subtitles = await self._subtitles.provide(row, task)
            beside, missing = beside | subtitles.files, missing + subtitles.missing
        ids = [source.file_id for source in event.sources]
        provided = dict(zip(ids, files, strict=True)) | beside
        writes: tuple[TableWrite, ...] = ()
        if not all(each.reused and id_ in row for id_, each in provided.items()):
            new = {id_: replace(each, reused=False) for id_, each in provided.items()}
            writes = (self._index.row_with(event, new, row, started),)
        if self._waits.states:
            for ended in self._waits.ends(event.video.key):
                self._context.publish_best_effort(ended)
        generated = await self._sidecars.write(event) if sidecars else []
        stored = (*files, *beside.values(), *generated)
        if settings.storage.public_url_prefix is not None:
            stored = tuple(replace(it, public_url=public_url(settings, it.uri)) for it in stored)
        return Complete(_completed(event, stored, missing), writes)


def _completed(
    event: SelectedVideo, files: tuple[StoredFile, ...], missing: tuple[MissingSubtitles, ...]
) -> Completed:
    kinds = {file.sidecar for file in files}
    pictures = any(source.format.picture for source in event.sources)
    return completed(
        event.job,
        event.info,
        cache=event.cache,
        engine=event.engine,
        files=files,
        partial=pictures and bool(event.info.missing_pictures),
        missing_sidecars=tuple(it for it in event.job.options.sidecars if it not in kinds),
        missing_subtitles=missing,
    )


@asynccontextmanager
async def background_task(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine for the duration of the block, and cancel it at the end."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def open_download(context: StageContext) -> AsyncIterator[Handler]:
    settings = context.settings
    async with AsyncExitStack() as stack:
        fetchers = await open_fetchers(settings, stack)
        storage = await stack.enter_async_context(open_storage(settings))
        storage_guard = StorageGuard(storage, context.intake, settings.download)
        await stack.enter_async_context(background_task(storage_guard.watch()))
        verifier = await stack.enter_async_context(open_verifier(probe=settings.download.probe))
        remuxer = await stack.enter_async_context(open_remuxer())
        await stack.enter_async_context(background_task(restore_index(storage)))
        if settings.storage.retention.is_limited:
            retention = Retention(
                storage, settings.storage.retention, settings.storage.path_template
            )
            await stack.enter_async_context(background_task(retention.run()))
        sweep_files(context)
        waits = stack.enter_context(follow_media_host_waits(context.shared_state))
        sources = SourceDownloader(
            Platforms.load(context.settings.platforms),
            fetchers,
            gate=OutboundGate(
                "download", tuple(fetchers), context, step=NAME, plugins=installed_plugins()
            ),
            tracks=TrackFetcher(),
            segments=SegmentStore(settings.data_dir / "segments"),
            context=context,
            waits=waits,
        )
        fetcher = FileFetcher(
            sources, storage, storage_guard=storage_guard, verifier=verifier, remuxer=remuxer
        )
        index = StoredFileIndex(storage, context)
        files = FileProvider(fetcher, index, storage, verifier)
        work = Download(
            files,
            index,
            SidecarProvider(files, storage),
            SubtitleProvider(sources, index, storage),
            storage_guard=storage_guard,
            context=context,
            waits=waits,
        )
        yield step_handler(NAME, SelectedVideo, work.work, context.shared_state)


stage = Stage(
    name=NAME,
    sources=(SELECTED,),
    open=open_download,
    on_bug=bug_handler(NAME, SelectedVideo),
    writes=(PROGRESS, ATTEMPTS, *STEP_TOPICS),
    purpose="downloads the files",
    tables=(TABLE,),
    claim=claim_of_selected,
)
