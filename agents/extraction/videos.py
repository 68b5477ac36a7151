"""Posts: a video's extraction from the cache, or from its page by the engine.

Part of the extraction stage.
"""

import logging
from collections.abc import Callable

import msgspec

from agents.caching import negative
from agents.caching.metadata import MetadataCache, UploadDates
from agents.caching.negative import NegativeCache
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.video_info import CacheHit, VideoInfoCache
from agents.extraction.page_reader import PageReader
from agents.pipeline import Complete, Forward, StepOutcome, completed
from agents.platforms import Platforms
from schemas import ClipmillError, ExtractedVideo, Extraction, Job, ValidatedVideo
from schemas.events import CacheUse
from schemas.job import PageUse
from schemas.video import EngineVersions
from streams import TableWrite

logger = logging.getLogger(__name__)

TABLE = "video-info"


class VideoWork:
    """The stage's step for posts.

    Args:
        platforms: the installed platforms.
        reader: extracts pages.
        cache: cache of extractions.
        failures: negative cache of permanent failures; default: a disabled one.
        pages: cache of parsed page metadata.
        dates: cache of upload dates.
        versions: returns the engine versions, None while unknown.
        authenticates: whether every page of a platform is read with an account.
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
        authenticates: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._platforms = platforms
        self._reader = reader
        self._cache = cache
        self._failures = failures or NegativeCache(0, MemoryBackend(BoundedCache(negative.NAME, 0)))
        self._pages = pages or MetadataCache()
        self._dates = dates or UploadDates()
        self._versions = versions
        self._authenticates = authenticates

    async def work(self, event: ValidatedVideo) -> StepOutcome:
        """Forward the video with its extraction; an ``info`` request completes here.

        Raises:
            ClipmillError: the platform failed, or the gate rejected the call.
        """
        known = await self._lookup(event)
        if known is not None and _has_subtitles(known.extraction, event.job):
            use = _cache_use(known.extraction, event.job.page)
            return self._to_outcome(event, known.extraction, use, known.row)
        try:
            extraction = await self._reader.read(event.video, event.job)
        except ClipmillError as error:
            if known is not None:
                logger.warning("%s is read without subtitles: %s", event.video.key, error)
                return self._to_outcome(event, known.extraction, "hit", known.row)
            error.engine = self._versions()
            await self._store_failure(event, error)
            return self._serve_stale(event, error)
        row = await self._store(event, extraction)
        return self._to_outcome(event, extraction, "miss", row, reads=1)

    def work_sync(self, event: ValidatedVideo) -> StepOutcome | None:
        """Do `work` for a video that is in the caches of this worker; None for all others."""
        if event.job.page != PageUse() or _wants_fresh(event.job):
            return None
        known = self._cache.get_local(event.video.key)
        if known is None or not _has_subtitles(known.extraction, event.job):
            return None
        return self._to_outcome(event, known.extraction, "hit")

    async def _lookup(self, event: ValidatedVideo) -> CacheHit | None:
        """Return a cached extraction; a failure in the negative cache is raised.

        A ``refresh``, or a page older than the one a retry requires, invalidates the entry.
        """
        key, page = event.video.key, event.job.page
        if page.read_at is None and _wants_fresh(event.job):
            await self._cache.drop(key)
            return None
        found = await self._cache.get(key)
        if found is not None and _is_outdated(found.extraction, page):
            await self._cache.drop(key)
            return None
        is_retry = page != PageUse() or event.job.retry_of is not None
        if found is None and self._is_anonymous(event) and not is_retry:
            failure = await self._failures.get(key)
            if failure is not None:
                raise failure.error()
        return found

    async def _store(self, event: ValidatedVideo, extraction: Extraction) -> bytes:
        """Cache an extraction; return its row for the table."""
        platform = self._platforms.by_name(event.video.platform)
        links_expiry = platform.get_expiry_seconds(extraction)
        await self._failures.delete(event.video.key)
        return await self._cache.put(event.video.key, extraction, links_expiry)

    async def _store_failure(self, event: ValidatedVideo, error: ClipmillError) -> None:
        # An account's failure is not cached: the post may be visible to another account.
        if self._is_anonymous(event) and error.account is None:
            await self._failures.put(event.video.key, error)

    def _is_anonymous(self, event: ValidatedVideo) -> bool:
        """Return whether the page is read without an account by policy.

        A platform that authenticates reads anonymously only while all accounts are paused; its
        failures bypass the negative cache.
        """
        return not (event.job.authenticate or self._authenticates(event.video.platform))

    def _serve_stale(self, event: ValidatedVideo, error: ClipmillError) -> StepOutcome:
        """Serve a stale extraction to ``info`` if the gate rejected the call; else raise."""
        job = event.job
        if error.permitted or job.action != "info" or _wants_fresh(job):
            raise error
        stale = self._cache.get_stale(event.video.key)
        if stale is None:
            raise error
        return self._to_outcome(event, stale, "stale")

    def _to_outcome(
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
        extracted = ExtractedVideo(job=job, video=event.video, extraction=extraction, cache=cache)
        return Forward(extracted, "extracted", writes, {"cache": cache}, job)


def _wants_fresh(job: Job) -> bool:
    return job.options.refresh or job.page.outdated


def _has_subtitles(extraction: Extraction, job: Job) -> bool:
    """Return whether a cached page was read with its subtitles, or the job needs none."""
    return extraction.subtitles or not job.options.subtitles


def _is_outdated(extraction: Extraction, page: PageUse) -> bool:
    """Return whether a cached page is older than the oldest one that a job may use."""
    if page.read_at is None:
        return False
    return extraction.extracted_at < page.read_at or (
        page.outdated and extraction.extracted_at == page.read_at
    )


def _cache_use(extraction: Extraction, page: PageUse) -> CacheUse:
    """Return the cache use to report: a page that was read for this job counts as a miss."""
    return "miss" if page.reads and extraction.extracted_at == page.read_at else "hit"
