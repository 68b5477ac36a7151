"""extraction: what does the video's page say?

Answers from the cache of the video's key, or asks the engine. Events of one video come one after
the other, so a video is extracted once however many ask for it at the same time.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from agents.attempting import Gate
from agents.authentication.cookie_files import CookieFiles
from agents.caching.metadata import MetadataCache
from agents.caching.video_info import VideoInfoCache
from agents.egress import open_egresses
from agents.engine.pool import EnginePool
from agents.engine.settings import EngineSettings
from agents.freshness import refreshed_at
from agents.outcomes import completed
from agents.page_reading import PageReader
from agents.platforms.registry import Platforms
from agents.step import Finished, Passed, Product, bug_handler, step_handler
from schemas.errors import ClipmillError
from schemas.events import CacheUse, ExtractedVideo, ValidatedVideo
from schemas.video import EngineVersions, Extraction, VideoRef
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
        reader: PageReader,
        cache: VideoInfoCache,
        *,
        versions: Callable[[], EngineVersions | None] = lambda: None,
    ) -> None:
        self._versions = versions
        self._platforms = platforms
        self._reader = reader
        self._cache = cache
        self._metadata = MetadataCache()

    async def work(self, event: ValidatedVideo) -> Product:
        """Return the video with what its page says."""
        cached = None if event.job.options.refresh else self._cache.get(event.video.key)
        if cached is not None:
            CACHE.labels("video_info", "hit").inc()
            return self._hand_on(event, cached, "hit")
        CACHE.labels("video_info", "miss").inc()
        try:
            extraction = await self._reader.read(event.video, event.job)
        except ClipmillError as error:
            error.engine = self._versions()
            return self._serve_stale(event, error)
        row = self._cache.row(extraction, self._links_end(event.video, extraction))
        return self._hand_on(event, extraction, "miss", (TableWrite(TABLE, event.video.key, row),))

    def _serve_stale(self, event: ValidatedVideo, error: ClipmillError) -> Product:
        """Return what was known, when nothing could be asked for and nothing fresh is wanted."""
        job = event.job
        if error.permitted or job.action != "info" or job.options.refresh:
            raise error
        stale = self._cache.get_stale(event.video.key)
        if stale is None:
            raise error
        CACHE.labels("video_info", "stale").inc()
        return self._hand_on(event, stale, "stale")

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
    egresses = open_egresses(settings)
    cache = VideoInfoCache(
        table.get,
        settings.cache.video_info_seconds,
        stale_seconds=settings.cache.stale_seconds,
        refreshed=lambda key: refreshed_at(context.signals, key),
    )

    def sweep() -> Sequence[Effect]:
        return [TableWrite(TABLE, key, None) for key in cache.expired(table.items())]

    async with EnginePool(engine_settings(settings), *egresses.values()) as engine:

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
        platforms = Platforms.load()
        reader = PageReader(
            platforms,
            engine,
            gate=Gate("extract", tuple(egresses), context),
            authenticator=CookieFiles(settings.auth.cookie_files),
            deadline_seconds=settings.engine.deadline_seconds,
        )
        work = ExtractionWork(platforms, reader, cache, versions=lambda: engine.stats().versions)
        yield step_handler(NAME, ValidatedVideo, work.work, context.signals)


stage = Stage(
    name=NAME,
    sources=(VALIDATED,),
    open=open_extraction,
    on_bug=bug_handler(NAME, ValidatedVideo),
    tables=(TABLE,),
)
