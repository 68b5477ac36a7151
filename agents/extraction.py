"""extraction: what does the video's page say?

Answers from the cache of the video's key, or asks the engine. Events of one video come one after
the other, so a video is extracted once however many ask for it at the same time.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from agents.caching.metadata import MetadataCache
from agents.caching.video_info import VideoInfoCache
from agents.egress import open_egress
from agents.engine.interface import Extractor
from agents.engine.pool import EnginePool
from agents.engine.settings import EngineSettings
from agents.outcomes import completed
from agents.platforms.registry import Platforms
from agents.step import Finished, Passed, Product, bug_handler, step_handler
from schemas.events import CacheUse, ExtractedVideo, ValidatedVideo
from schemas.job import Job
from schemas.video import Extraction, VideoRef
from streams.metrics import CACHE, ENGINE_INFO, ENGINE_PROCESSES, ENGINE_RESTARTS
from streams.records import Effect, TableWrite
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import VALIDATED

NAME = "extraction"
TABLE = "video-info"
SWEEP_SECONDS = 60.0


class ExtractionWork:
    """The stage's work."""

    def __init__(
        self,
        platforms: Platforms,
        engine: Extractor,
        cache: VideoInfoCache,
        deadline_seconds: float,
    ) -> None:
        self._platforms = platforms
        self._engine = engine
        self._cache = cache
        self._metadata = MetadataCache()
        self._deadline_seconds = deadline_seconds

    async def work(self, event: ValidatedVideo) -> Product:
        """Return the video with what its page says."""
        cached = None if event.job.options.refresh else self._cache.get(event.video.key)
        if cached is not None:
            CACHE.labels("video_info", "hit").inc()
            return self._hand_on(event, cached, "hit")
        CACHE.labels("video_info", "miss").inc()
        extraction = await self._extract(event.video, event.job)
        row = self._cache.row(extraction, self._links_end(event.video, extraction))
        return self._hand_on(event, extraction, "miss", (TableWrite(TABLE, event.video.key, row),))

    async def _extract(self, video: VideoRef, job: Job) -> Extraction:
        seconds = self._deadline_seconds
        if job.deadline is not None:
            left = (job.deadline - datetime.now(UTC)).total_seconds()
            seconds = max(1.0, min(seconds, left))
        platform = self._platforms.by_name(video.platform)
        return await platform.get_video_info(video, self._engine, deadline_seconds=seconds)

    def _links_end(self, video: VideoRef, extraction: Extraction) -> float | None:
        return self._platforms.by_name(video.platform).get_expiry_seconds(extraction)

    def _hand_on(
        self,
        event: ValidatedVideo,
        extraction: Extraction,
        cache: CacheUse,
        writes: tuple[TableWrite, ...] = (),
    ) -> Product:
        if event.job.action == "info":
            platform = self._platforms.by_name(event.video.platform)
            info, _ = self._metadata.read(platform, event.video, extraction)
            outcome = completed(event.job, info, cache=cache, engine=extraction.engine)
            return Finished(outcome, writes)
        passed = ExtractedVideo(
            job=event.job, video=event.video, extraction=extraction, cache=cache
        )
        return Passed(passed, "extracted", writes, {"cache": cache})


def engine_settings(settings: Settings) -> EngineSettings:
    """Return the engine's part of the settings."""
    engine = settings.engine
    return EngineSettings(
        processes=engine.processes,
        threads_per_process=engine.threads,
        page_bytes_max=engine.page_bytes,
        request_timeout_seconds=engine.request_timeout_seconds,
    )


@asynccontextmanager
async def open_extraction(context: StageContext) -> AsyncIterator[Handler]:
    """Start the engine and open the cache."""
    settings = context.settings
    table = context.tables[TABLE]
    cache = VideoInfoCache(table.get, settings.cache.video_info_seconds)

    def sweep() -> Sequence[Effect]:
        return [TableWrite(TABLE, key, None) for key in cache.expired(table.items())]

    async with EnginePool(engine_settings(settings), open_egress(settings)) as engine:

        def check() -> str | None:
            stats = engine.stats()
            ENGINE_PROCESSES.set(stats.processes_alive)
            ENGINE_RESTARTS.set(stats.restarts)
            return None if stats.processes_alive else "no engine process is alive"

        context.sweeps.append((SWEEP_SECONDS, sweep))
        context.checks.append(check)
        versions = engine.stats().versions
        if versions is not None:
            ENGINE_INFO.labels(versions.yt_dlp, versions.curl_cffi).set(1)
        work = ExtractionWork(Platforms.load(), engine, cache, settings.engine.deadline_seconds)
        yield step_handler(NAME, ValidatedVideo, work.work)


stage = Stage(
    name=NAME,
    sources=(VALIDATED,),
    open=open_extraction,
    on_bug=bug_handler(NAME, ValidatedVideo),
    tables=(TABLE,),
)
