"""extraction: what does the video's page say?

Answers with what is remembered of the video, or asks the engine. Events of one video come one
after the other, so a video is extracted once however many ask for it at the same time.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import msgspec

from agents.access.accounts import logins
from agents.access.egress import open_egresses
from agents.access.gate import OutboundGate, installed_plugins
from agents.caching import metadata, negative, upload_date, video_info
from agents.caching.metadata import MetadataCache
from agents.caching.negative import NegativeCache
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.upload_date import UploadDates
from agents.caching.video_info import Found, VideoInfoCache
from agents.extraction import listings
from agents.extraction.engine import open_engine
from agents.extraction.listings import ListingWork, sweep_listings
from agents.extraction.page_reader import PageReader
from agents.pipeline.request_claims import bug_by_kind, claim_of_validated, handle_by_kind
from agents.pipeline.results import completed
from agents.pipeline.stage_caches import StageCaches, open_caches
from agents.pipeline.step import Complete, Forward, StepOutcome, bug_handler, step_handler
from agents.platforms.registry import Platforms
from schemas.errors import ClipmillError
from schemas.events import CacheUse, ExtractedVideo, ValidatedListing, ValidatedVideo
from schemas.job import Job, PageUse
from schemas.video import EngineVersions, Extraction
from streams.records import Effect, TableWrite
from streams.stage import Handler, Stage, StageContext
from streams.topics import VALIDATED

NAME = "extraction"
TABLE = "video-info"
SWEEP_SECONDS = 60.0

MEMORY_SHARES = {
    video_info.NAME: 0.4,
    metadata.NAME: 0.4,
    negative.NAME: 0.1,
    upload_date.NAME: 0.1,
}
"""Of ``cache.memory_bytes``. What is decoded of a video takes 14 KB in front, and 28 KB as
metadata."""


class ExtractionWork:
    """The stage's work.

    Args:
        platforms: the installed ones.
        reader: asks them.
        cache: what pages said.
        failures: what was said of videos that cannot be had; default: none are remembered.
        pages: what was read in pages.
        dates: when posts were published.
        versions: of the engine, as far as they are known.
        logs_in: tells whether every page of a platform is read with an account.
    """

    def __init__(
        self,
        platforms: Platforms,
        reader: PageReader,
        cache: VideoInfoCache,
        *,
        failures: NegativeCache | None = None,
        pages: MetadataCache | None = None,
        dates: UploadDates | None = None,
        versions: Callable[[], EngineVersions | None] = lambda: None,
        logs_in: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._platforms = platforms
        self._reader = reader
        self._cache = cache
        self._failures = failures or NegativeCache(0, MemoryBackend(BoundedCache(negative.NAME, 0)))
        self._pages = pages or MetadataCache()
        self._dates = dates or UploadDates()
        self._versions = versions
        self._logs_in = logs_in

    async def work(self, event: ValidatedVideo) -> StepOutcome:
        """Return the video with what its page says.

        Raises:
            ClipmillError: the platform's reason, or why nothing was asked.
        """
        known = await self._known(event)
        if known is not None:
            use = _use_of(known.extraction, event.job.page)
            return self._hand_on(event, known.extraction, use, known.row)
        try:
            extraction = await self._reader.read(event.video, event.job)
        except ClipmillError as error:
            error.engine = self._versions()
            await self._learn(event, error)
            return self._serve_stale(event, error)
        row = await self._keep(event, extraction)
        return self._hand_on(event, extraction, "miss", row, reads=1)

    async def _known(self, event: ValidatedVideo) -> Found | None:
        """Return what is remembered; a failure that is remembered is raised again."""
        key, page = event.video.key, event.job.page
        if page.read_at is None and _wants_fresh(event.job):
            await self._cache.drop(key)
            return None
        found = await self._cache.get(key)
        if found is not None and _is_outdated(found.extraction, page):
            await self._cache.drop(key)
            return None
        asked_before = page != PageUse() or event.job.retry_of is not None
        if found is None and self._is_anybody(event) and not asked_before:
            failure = await self._failures.get(key)
            if failure is not None:
                raise failure.error()
        return found

    async def _keep(self, event: ValidatedVideo, extraction: Extraction) -> bytes:
        """Remember what a page said; return the row to be written."""
        platform = self._platforms.by_name(event.video.platform)
        links_end = platform.get_expiry_seconds(extraction)
        await self._failures.forget(event.video.key)
        return await self._cache.put(event.video.key, extraction, links_end)

    async def _learn(self, event: ValidatedVideo, error: ClipmillError) -> None:
        # What is withheld from one account may be shown to another.
        if self._is_anybody(event) and error.account is None:
            await self._failures.note(event.video.key, error)

    def _is_anybody(self, event: ValidatedVideo) -> bool:
        """Return whether it is asked as nobody in particular, without an account.

        Where accounts are the rule, the page is read as nobody only while all of them rest: what
        it says then counts for that one time.
        """
        return not (event.job.authenticate or self._logs_in(event.video.platform))

    def _serve_stale(self, event: ValidatedVideo, error: ClipmillError) -> StepOutcome:
        """Return what was known, when nothing could be asked for and nothing fresh is wanted."""
        job = event.job
        if error.permitted or job.action != "info" or _wants_fresh(job):
            raise error
        stale = self._cache.get_stale(event.video.key)
        if stale is None:
            raise error
        return self._hand_on(event, stale, "stale")

    def _hand_on(
        self,
        event: ValidatedVideo,
        extraction: Extraction,
        cache: CacheUse,
        row: bytes | None = None,
        reads: int = 0,
    ) -> StepOutcome:
        writes = () if row is None else (TableWrite(TABLE, event.video.key, row),)
        if event.job.action == "info":
            platform = self._platforms.by_name(event.video.platform)
            page = self._pages.read(platform, event.video, extraction)
            info = self._dates.complete(event.video.key, page.info)
            outcome = completed(event.job, info, cache=cache, engine=extraction.engine)
            return Complete(outcome, writes)
        used = PageUse(read_at=extraction.extracted_at, reads=event.job.page.reads + reads)
        job = msgspec.structs.replace(event.job, page=used)
        passed = ExtractedVideo(job=job, video=event.video, extraction=extraction, cache=cache)
        return Forward(passed, "extracted", writes, {"cache": cache}, job)


def _wants_fresh(job: Job) -> bool:
    return job.options.refresh or job.page.outdated


def _is_outdated(extraction: Extraction, page: PageUse) -> bool:
    """Return whether a page is from before the one that a job may use."""
    if page.read_at is None:
        return False
    return extraction.extracted_at < page.read_at or (
        page.outdated and extraction.extracted_at == page.read_at
    )


def _use_of(extraction: Extraction, page: PageUse) -> CacheUse:
    """Return what a result says of a known page: it may have been read for this very job."""
    return "miss" if page.reads and extraction.extracted_at == page.read_at else "hit"


@asynccontextmanager
async def open_extraction(context: StageContext) -> AsyncIterator[Handler]:
    """Start the engine and open the caches."""
    settings = context.settings
    egresses = open_egresses(settings)
    platforms = Platforms.load(settings.platforms)
    async with (
        open_caches(NAME, context, MEMORY_SHARES) as caches,
        logins(context, platforms) as authenticator,
        open_engine(context, platforms, egresses) as engine,
    ):
        sweep_listings(context)
        reader = PageReader(
            platforms,
            engine,
            gate=OutboundGate("extract", tuple(egresses), context, plugins=installed_plugins()),
            authenticator=authenticator,
            deadline_seconds=settings.engine.deadline_seconds,
            always=settings.auth.always,
        )
        dates = caches.upload_dates()
        work = ExtractionWork(
            platforms,
            reader,
            _open_table(caches, context),
            failures=caches.negative(lambda platform: bool(authenticator.accounts(platform))),
            pages=caches.metadata(),
            dates=dates,
            versions=lambda: engine.stats().versions,
            logs_in=lambda platform: (
                settings.auth.always and bool(authenticator.accounts(platform))
            ),
        )
        listing_work = ListingWork(
            platforms,
            reader,
            context.tables[listings.TABLE].get,
            life_seconds=settings.cache.listing_seconds,
            kept_seconds=settings.retry.total_seconds,
            dates=dates,
            versions=lambda: engine.stats().versions,
        )
        yield handle_by_kind(
            {
                ValidatedListing: step_handler(
                    NAME, ValidatedListing, listing_work.work, context.signals
                )
            },
            step_handler(NAME, ValidatedVideo, work.work, context.signals),
        )


def _open_table(caches: StageCaches, context: StageContext) -> VideoInfoCache:
    """Return the cache over the stage's table, which is swept from now on."""
    table = context.tables[TABLE]
    cache = caches.video_info(table)

    def sweep() -> Sequence[Effect]:
        return [TableWrite(TABLE, key, None) for key in cache.expired(table.items())]

    context.sweeps.append((SWEEP_SECONDS, sweep))
    return cache


stage = Stage(
    name=NAME,
    sources=(VALIDATED,),
    open=open_extraction,
    on_bug=bug_by_kind(
        {ValidatedListing: bug_handler(NAME, ValidatedListing)}, bug_handler(NAME, ValidatedVideo)
    ),
    tables=(TABLE, listings.TABLE),
    claim=claim_of_validated,
)
