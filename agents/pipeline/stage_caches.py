"""The caches of one stage: they share its memory budget, its metrics and an optional backend.

Composition root of `agents.caching`, which is independent of settings and metrics. Users invalidate
entries by the shared state (cache invalidation, `invalidated_at`).
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from agents.caching import format_choice, metadata, negative, ttl_lru, video_info
from agents.caching.fail_safe_backend import CallOutcome, FailSafeBackend
from agents.caching.format_choice import FormatChoices
from agents.caching.interface import (
    BackendSettings,
    CacheBackend,
    CacheLevel,
    EvictionReason,
    LookupOutcome,
    find_backend,
)
from agents.caching.metadata import MetadataCache, UploadDates
from agents.caching.negative import NegativeCache
from agents.caching.row_codec import FINGERPRINT_BYTES
from agents.caching.ttl_lru import BoundedCache, MemoryBackend
from agents.caching.video_info import VideoInfoCache
from agents.pipeline.worker_states import publish_cache_states
from schemas import encode
from schemas.signals import REFRESH, RefreshSignal
from streams import Effect, Settings, SharedState, StageContext, Table
from streams.observability.metrics import (
    CACHE_BYTES,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_REQUESTS,
    SHARED_CACHE_CALLS,
    series,
)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

CacheName = Literal["video_info", "negative", "metadata", "format_choice", "upload_date"]

SWEEP_SECONDS = 60.0

SHED_SHARE = 0.5
"""Share of its bytes that a cache evicts on each signal of memory pressure."""


class StageCaches:
    """Creates the caches of a stage and schedules their sweeps and memory-pressure evictions.

    Args:
        stage: its name, for the metrics.
        context: settings, and the schedule of sweeps.
        shared: backend shared with other workers, None for none.
        shares: share of ``cache.memory_bytes`` per cache name.
    """

    def __init__(
        self,
        stage: str,
        context: StageContext,
        shared: CacheBackend | None,
        shares: Mapping[CacheName, float],
    ) -> None:
        self._context = context
        self._settings = context.settings.cache
        self._shared = shared
        self._shares = shares
        self._report = CacheMetrics(stage)
        self._stores: list[BoundedCache[Any, Any]] = []
        context.periodic.append((SWEEP_SECONDS, self._sweep))
        context.on_memory_pressure.append(self._shed)
        publish_cache_states(stage, context)

    def video_info(self, table: Table) -> VideoInfoCache:
        """Return the cache of extractions, persisted in a table of the stage."""
        settings = self._settings
        return VideoInfoCache(
            table.get,
            settings.video_info_seconds,
            stale_seconds=settings.stale_seconds,
            invalidated_at=partial(invalidated_at, self._context.shared_state),
            fingerprint=config_fingerprint(self._context.settings),
            front=self._store(
                video_info.NAME, settings.video_info_seconds, video_info.size_of, level="front"
            ),
            shared=self._shared,
            rows_bytes_max=settings.table_bytes,
            report=self._report,
        )

    def negative(self, can_log_in: Callable[[str], bool]) -> NegativeCache:
        """Return the negative cache: videos whose extraction failed permanently."""
        ttl_seconds = self._settings.negative_seconds
        return NegativeCache(
            ttl_seconds,
            MemoryBackend(self._store(negative.NAME, ttl_seconds, ttl_lru.size_of)),
            shared=self._shared,
            can_log_in=can_log_in,
            invalidated_at=partial(invalidated_at, self._context.shared_state),
            report=self._report,
        )

    def metadata(self) -> MetadataCache:
        ttl_seconds = self._settings.metadata_seconds
        return MetadataCache(self._store(metadata.NAME, ttl_seconds, metadata.size_of))

    def format_choices(self) -> FormatChoices:
        ttl_seconds = self._settings.format_choice_seconds
        return FormatChoices(self._store(format_choice.NAME, ttl_seconds, format_choice.size_of))

    def upload_dates(self) -> UploadDates:
        ttl_seconds = self._settings.upload_date_seconds
        return UploadDates(self._store(metadata.DATES_NAME, ttl_seconds, metadata.size_of_date))

    def _store(
        self,
        name: CacheName,
        ttl_seconds: float,
        size_of: Callable[[K, V], int],
        *,
        level: CacheLevel = "memory",
    ) -> BoundedCache[K, V]:
        store = BoundedCache(
            name,
            ttl_seconds,
            bytes_max=int(self._settings.memory_bytes * self._shares[name]),
            size_of=size_of,
            level=level,
            report=self._report,
        )
        store.sweep()
        self._stores.append(store)
        return store

    def _sweep(self) -> Iterator[Sequence[Effect]]:
        for store in self._stores:
            store.sweep()
            yield ()

    def _shed(self) -> None:
        for store in self._stores:
            store.shed(SHED_SHARE)


@asynccontextmanager
async def open_caches(
    stage: str, context: StageContext, shares: Mapping[CacheName, float]
) -> AsyncIterator[StageCaches]:
    """Open the caches of a stage, with the configured backend.

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
        guarded = FailSafeBackend(
            backend,
            settings.backend,
            prefix=shared_prefix(context.settings),
            timeout_seconds=settings.backend_timeout_seconds,
            open_seconds=settings.backend_rest_seconds,
            report=CacheMetrics(stage).called,
        )
        yield StageCaches(stage, context, guarded, shares)


def config_fingerprint(settings: Settings) -> bytes:
    """Return a digest of the settings that affect extractions, `FINGERPRINT_BYTES` long.

    These are the egresses (platforms answer differently per region), the page size limit and the
    yt-dlp release. Proxy credentials are not included.
    """
    egress = settings.egress
    proxies = {**egress.proxies, "": egress.proxy or ""}
    endpoints = sorted(
        (name, urlsplit(url).hostname, urlsplit(url).port) for name, url in proxies.items()
    )
    config = encode([endpoints, settings.engine.page_bytes, version("yt-dlp")])
    return hashlib.sha256(config).digest()[:FINGERPRINT_BYTES]


def shared_prefix(settings: Settings) -> str:
    """Return the key prefix in a shared cache; releases and configurations do not share keys."""
    return f"clipmill:{version('clipmill')}:{config_fingerprint(settings).hex()}:"


class CacheMetrics:
    """A `agents.caching.interface.CacheReport` that exports the metrics of one stage."""

    def __init__(self, stage: str) -> None:
        self._stage = stage

    def record_lookup(self, cache: str, level: CacheLevel, outcome: LookupOutcome) -> None:
        series(CACHE_REQUESTS, self._stage, cache, level, outcome).inc()

    def record_eviction(self, cache: str, reason: EvictionReason, count: int) -> None:
        CACHE_EVICTIONS.labels(self._stage, cache, reason).inc(count)

    def record_size(self, cache: str, level: CacheLevel, entries: int, size_bytes: int) -> None:
        CACHE_ENTRIES.labels(self._stage, cache, level).set(entries)
        CACHE_BYTES.labels(self._stage, cache, level).set(size_bytes)

    def called(self, operation: str, outcome: CallOutcome) -> None:
        SHARED_CACHE_CALLS.labels(self._stage, operation, outcome).inc()


def invalidated_at(shared_state: SharedState, key: str) -> datetime | None:
    """Return when a video (``tiktok:7608826249200356630``) was last invalidated; None: never.

    Older entries must not be used. The time is converted to this worker's clock, the clock of its
    cache entries.
    """
    name = f"{REFRESH}{key}"
    signal = shared_state.read(name, RefreshSignal)
    if signal is None:
        return None
    return shared_state.published_at(name, signal.at, datetime.now(UTC))
