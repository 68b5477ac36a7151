"""The caches of one stage: they share its memory, its metrics and a backend, if one is set.

The tools in `agents.caching` know nothing of settings and metrics; here they are put together.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import urlsplit

from agents.caching import format_choice, metadata, negative, row_codec, ttl_lru, upload_date
from agents.caching.fail_safe_backend import CallOutcome, GuardedBackend
from agents.caching.format_choice import FormatChoices
from agents.caching.interface import (
    BackendSettings,
    CacheBackend,
    EvictionReason,
    Level,
    Outcome,
    find_backend,
)
from agents.caching.metadata import MetadataCache
from agents.caching.negative import NegativeCache
from agents.caching.row_codec import MEANING_BYTES
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.upload_date import UploadDates
from agents.caching.video_info import NAME as VIDEO_INFO
from agents.caching.video_info import VideoInfoCache
from agents.pipeline.cache_invalidation import invalidated_at
from schemas.codec import encode
from streams.faust_driver.tables import StageTable
from streams.observability.metrics import (
    CACHE_BYTES,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_REQUESTS,
    SHARED_CACHE_CALLS,
)
from streams.records import Effect
from streams.settings import Settings
from streams.stage import StageContext

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SWEEP_SECONDS = 60.0

RELIEF_SHARE = 0.5
"""Of its bytes a cache lets go each time that memory is short."""


class StageCaches:
    """Makes the caches of a stage, and keeps their house.

    Args:
        stage: its name, for the metrics.
        context: has the settings, and takes the housekeeping.
        shared: what other workers know as well, None when nothing is shared.
        shares: which part of ``cache.memory_bytes`` each cache gets, by name.
    """

    def __init__(
        self,
        stage: str,
        context: StageContext,
        shared: CacheBackend | None,
        shares: dict[str, float],
    ) -> None:
        self._context = context
        self._settings = context.settings.cache
        self._shared = shared
        self._shares = shares
        self._report = CacheMetrics(stage)
        self._stores: list[BoundedCache[Any, Any]] = []
        context.sweeps.append((SWEEP_SECONDS, self._sweep))
        context.reliefs.append(self._relieve)

    def video_info(self, table: StageTable) -> VideoInfoCache:
        """Return the cache of what pages said, in this table of the stage."""
        settings = self._settings
        return VideoInfoCache(
            table.get,
            settings.video_info_seconds,
            stale_seconds=settings.stale_seconds,
            refreshed=partial(invalidated_at, self._context.signals),
            meaning=config_fingerprint(self._context.settings),
            front=self._store(
                VIDEO_INFO, settings.video_info_seconds, row_codec.size_of, level="front"
            ),
            shared=self._shared,
            rows_bytes_max=settings.table_bytes,
            report=self._report,
        )

    def negative(self, can_log_in: Callable[[str], bool]) -> NegativeCache:
        """Return the cache of videos that cannot be had."""
        life = self._settings.negative_seconds
        return NegativeCache(
            life,
            MemoryBackend(self._store(negative.NAME, life, ttl_lru.size_of)),
            shared=self._shared,
            can_log_in=can_log_in,
            refreshed=partial(invalidated_at, self._context.signals),
            report=self._report,
        )

    def metadata(self) -> MetadataCache:
        """Return the cache of what was read in pages."""
        life = self._settings.metadata_seconds
        return MetadataCache(self._store(metadata.NAME, life, metadata.size_of))

    def format_choices(self) -> FormatChoices:
        """Return the cache of chosen files."""
        life = self._settings.format_choice_seconds
        return FormatChoices(self._store(format_choice.NAME, life, format_choice.size_of))

    def upload_dates(self) -> UploadDates:
        """Return the cache of posts' dates."""
        life = self._settings.upload_date_seconds
        return UploadDates(self._store(upload_date.NAME, life, upload_date.size_of))

    def _store(
        self,
        name: str,
        life_seconds: float,
        size_of: Callable[[K, V], int],
        *,
        level: Level = "memory",
    ) -> BoundedCache[K, V]:
        store = BoundedCache(
            name,
            life_seconds,
            bytes_max=int(self._settings.memory_bytes * self._shares[name]),
            size_of=size_of,
            level=level,
            report=self._report,
        )
        store.sweep()
        self._stores.append(store)
        return store

    def _sweep(self) -> Sequence[Effect]:
        for store in self._stores:
            store.sweep()
        return ()

    def _relieve(self) -> None:
        for store in self._stores:
            store.shed(RELIEF_SHARE)


@asynccontextmanager
async def open_caches(
    stage: str, context: StageContext, shares: dict[str, float]
) -> AsyncIterator[StageCaches]:
    """Give the caches of a stage, over the backend that is set.

    Raises:
        ClipmillError: ``system.config``; the backend is not installed, or cannot be loaded.
    """
    settings = context.settings.cache
    opener = find_backend(settings.backend)
    if opener is None:
        yield StageCaches(stage, context, None, shares)
        return
    url = settings.redis_url.get_secret_value() if settings.redis_url else None
    async with opener(BackendSettings(url, settings.backend_timeout_seconds)) as backend:
        guarded = GuardedBackend(
            backend,
            settings.backend,
            prefix=shared_prefix(context.settings),
            timeout_seconds=settings.backend_timeout_seconds,
            rest_seconds=settings.backend_rest_seconds,
            report=CacheMetrics(stage).called,
        )
        yield StageCaches(stage, context, guarded, shares)


def config_fingerprint(settings: Settings) -> bytes:
    """Return the digest of the settings that decide what a page says, `MEANING_BYTES` long.

    That is the way out (other regions are told other things), the bound of a page, and the
    release of yt-dlp that reads it. Logins of proxies are no part of it.
    """
    egress = settings.egress
    proxies = {**egress.proxies, "": egress.proxy or ""}
    places = sorted(
        (name, urlsplit(url).hostname, urlsplit(url).port) for name, url in proxies.items()
    )
    facts = encode([places, settings.engine.page_bytes, version("yt-dlp")])
    return hashlib.sha256(facts).digest()[:MEANING_BYTES]


def shared_prefix(settings: Settings) -> str:
    """Return what all keys in a shared cache begin with: other releases have keys of their own."""
    return f"clipmill:{version('clipmill')}:{config_fingerprint(settings).hex()}:"


class CacheMetrics:
    """A `agents.caching.interface.CacheReport` of one stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def looked_up(self, cache: str, level: Level, outcome: Outcome) -> None:
        """Count a look-up at one level."""
        CACHE_REQUESTS.labels(self._stage, cache, level, outcome).inc()

    def evicted(self, cache: str, reason: EvictionReason, count: int) -> None:
        """Count what a cache let go of."""
        CACHE_EVICTIONS.labels(self._stage, cache, reason).inc(count)

    def sized(self, cache: str, level: Level, entries: int, size_bytes: int) -> None:
        """Show how much there is now."""
        CACHE_ENTRIES.labels(self._stage, cache, level).set(entries)
        CACHE_BYTES.labels(self._stage, cache, level).set(size_bytes)

    def called(self, operation: str, outcome: CallOutcome) -> None:
        """Count a call of the shared cache."""
        SHARED_CACHE_CALLS.labels(self._stage, operation, outcome).inc()
