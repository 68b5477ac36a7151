"""extraction: reads the metadata of a video from the cache, or from its page by the engine.

Events are keyed by video and processed in order per key, which coalesces concurrent requests: the
first one extracts the video, the others hit the cache.
"""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from agents.access import OutboundGate, installed_plugins, open_egresses
from agents.access.accounts import stage_authenticator
from agents.caching.row_codec import expiry_of_packed
from agents.caching.video_info import VideoInfoCache
from agents.extraction import listings
from agents.extraction.engine import open_engine
from agents.extraction.listings import ListingWork, sweep_listings
from agents.extraction.page_reader import PageReader
from agents.extraction.videos import TABLE, VideoWork
from agents.pipeline import STEP_TOPICS, bug_handler, step_handler
from agents.pipeline.request_claims import claim_of_validated, kind_of
from agents.pipeline.stage_caches import CacheName, StageCaches, open_caches
from agents.platforms import Platforms
from schemas import ValidatedListing, ValidatedVideo
from streams import (
    ATTEMPTS,
    EXTRACTED,
    VALIDATED,
    Effect,
    Handler,
    Incoming,
    RowFields,
    Stage,
    StageContext,
    SyncFirstHandler,
    tombstones,
)
from streams.media_host_waits import follow_media_host_waits
from streams.stage import BugHandler

NAME = "extraction"
SWEEP_SECONDS = 60.0

MEMORY_SHARES: Mapping[CacheName, float] = {
    "video_info": 0.4,
    "metadata": 0.4,
    "negative": 0.1,
    "upload_date": 0.1,
}
"""Share of ``cache.memory_bytes`` per cache. A decoded video takes 14 KB in the front cache, and 28
KB as metadata."""


@asynccontextmanager
async def open_extraction(context: StageContext) -> AsyncIterator[Handler]:
    settings = context.settings
    egresses = open_egresses(settings)
    platforms = Platforms.load(settings.platforms)
    async with (
        open_caches(NAME, context, MEMORY_SHARES) as caches,
        stage_authenticator(context, platforms) as authenticator,
        open_engine(context, platforms, egresses) as engine,
        AsyncExitStack() as stack,
    ):
        waits = stack.enter_context(follow_media_host_waits(context.shared_state))
        sweep_listings(context)
        reader = PageReader(
            platforms,
            engine,
            gate=OutboundGate(
                "extract", tuple(egresses), context, step=NAME, plugins=installed_plugins()
            ),
            authenticator=authenticator,
            deadline_seconds=settings.engine.deadline_seconds,
            waits=waits,
            always=settings.auth.always,
        )
        dates = caches.upload_dates()
        work = VideoWork(
            platforms,
            reader,
            _open_cache(caches, context),
            failures=caches.negative(lambda platform: bool(authenticator.accounts(platform))),
            pages=caches.metadata(),
            dates=dates,
            versions=lambda: engine.stats().versions,
            authenticates=lambda platform: (
                settings.auth.always and bool(authenticator.accounts(platform))
            ),
        )
        listing_work = ListingWork(
            platforms,
            reader,
            context.tables[listings.TABLE].get,
            ttl_seconds=settings.cache.listing_seconds,
            retention_seconds=settings.retry.total_seconds,
            dates=dates,
            versions=lambda: engine.stats().versions,
        )
        shared_state = context.shared_state
        yield handle_by_kind(
            step_handler(NAME, ValidatedListing, listing_work.work, shared_state),
            step_handler(NAME, ValidatedVideo, work.work, shared_state, work_sync=work.work_sync),
        )


def handle_by_kind(
    listings: SyncFirstHandler[Sequence[Effect]], videos: SyncFirstHandler[Sequence[Effect]]
) -> SyncFirstHandler[Sequence[Effect]]:
    """Return the handler of all records; those that name no kind of event are videos."""

    def select(record: Incoming) -> SyncFirstHandler[Sequence[Effect]]:
        return listings if kind_of(record) is ValidatedListing else videos

    return SyncFirstHandler(
        lambda record: select(record).sync(record), lambda record: select(record)(record)
    )


def bug_by_kind(listings: BugHandler, videos: BugHandler) -> BugHandler:
    """Return the bug handler of all records."""

    def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
        return (listings if kind_of(record) is ValidatedListing else videos)(record, error)

    return on_bug


def _open_cache(caches: StageCaches, context: StageContext) -> VideoInfoCache:
    """Return the cache on the stage's table, and schedule the table's sweep."""
    table = context.indexed_tables[TABLE]
    cache = caches.video_info(table)

    def sweep() -> Iterator[Sequence[Effect]]:
        return (tombstones(TABLE, keys) for keys in cache.sweep(table))

    context.periodic.append((SWEEP_SECONDS, sweep))
    return cache


stage = Stage(
    name=NAME,
    sources=(VALIDATED,),
    open=open_extraction,
    on_bug=bug_by_kind(bug_handler(NAME, ValidatedListing), bug_handler(NAME, ValidatedVideo)),
    writes=(EXTRACTED, VALIDATED, ATTEMPTS, *STEP_TOPICS),
    purpose="extracts the page of a post, and the listing of a profile",
    tables=(TABLE, listings.TABLE),
    indexes={TABLE: RowFields(expiry_of_packed)},
    claim=claim_of_validated,
    chained=True,
)
