from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents.caching.interface import BackendSettings, CacheBackend
from agents.extraction.agent import MEMORY_SHARES as EXTRACTION_SHARES
from agents.extraction.agent import stage as extraction_stage
from agents.pipeline import stage_caches as caches_module
from agents.pipeline.stage_caches import invalidated_at, open_caches
from agents.platforms.tiktok.handler import TikTok
from agents.selection import MEMORY_SHARES as SELECTION_SHARES
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.signals import RefreshSignal
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import REGISTRY
from streams.stage import StageContext
from tests.unit.agents.builders import (
    FUTURE,
    PAST,
    VIDEO,
    make_context,
    make_extraction,
    make_settings,
    table_of,
)
from tests.unit.agents.caching.backends import DictBackend
from tests.unit.agents.caching.slices import effects_in, index_of, keys_in

INDEXES = extraction_stage.indexes
SHARES = {**EXTRACTION_SHARES, **SELECTION_SHARES}
NOT_FOUND = ClipmillError(ErrorCode.CONTENT_NOT_FOUND, "gone")


def stage_context(**cache: Any) -> StageContext:
    return make_context(make_settings(cache=cache), indexes=INDEXES)[0]


def metric_value(name: str, stage: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"clipmill_{name}", {"stage": stage, **labels})
    return value or 0.0


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> DictBackend:
    """Install backend ``toy``; its ``values`` are the stored ones."""
    made = DictBackend()

    @asynccontextmanager
    async def open_toy(settings: BackendSettings) -> AsyncIterator[CacheBackend]:
        assert settings == BackendSettings("redis://here", 0.5)
        yield made

    monkeypatch.setattr(caches_module, "find_backend", {"toy": open_toy}.get)
    return made


@pytest.mark.parametrize("shares", [EXTRACTION_SHARES, SELECTION_SHARES], ids=["ex", "sel"])
def test_memory_shares_of_a_stage_add_up_to_one(shares: dict[str, float]) -> None:
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) > 0


async def test_default_caches_are_not_shared() -> None:
    async with open_caches("plain", stage_context(), SHARES) as caches:
        failures = caches.negative(lambda _: False)
        await failures.put(VIDEO.key, NOT_FOUND)
        assert await failures.get(VIDEO.key) is not None
    async with open_caches("plain", stage_context(), SHARES) as caches:
        assert await caches.negative(lambda _: False).get(VIDEO.key) is None


TOY_BACKEND = {"backend": "toy", "redis_url": "redis://here", "backend_timeout_seconds": 0.5}


async def test_backend_is_shared_between_workers_with_equal_settings(backend: DictBackend) -> None:
    before = metric_value("shared_cache_calls_total", "other", operation="get", outcome="ok")
    async with open_caches("one", stage_context(**TOY_BACKEND), SHARES) as caches:
        table = stage_context().tables["video-info"]
        await caches.video_info(table).put(VIDEO.key, make_extraction(), None)
        await caches.negative(lambda _: False).put("tiktok:gone", NOT_FOUND)
    async with open_caches("other", stage_context(**TOY_BACKEND), SHARES) as caches:
        empty = stage_context().tables["video-info"]
        assert await caches.video_info(empty).get(VIDEO.key) is not None
        assert await caches.negative(lambda _: False).get("tiktok:gone") is not None
    after = metric_value("shared_cache_calls_total", "other", operation="get", outcome="ok")
    assert after - before == 2
    assert all(key.startswith("clipmill:") for key in backend.values)
    other_settings = make_settings(cache=TOY_BACKEND, egress={"proxy": "http://elsewhere:1"})
    context, _ = make_context(other_settings, indexes=INDEXES)
    async with open_caches("elsewhere", context, SHARES) as caches:
        assert await caches.video_info(context.indexed_tables["video-info"]).get(VIDEO.key) is None


async def test_unavailable_backend_does_not_fail_callers(backend: DictBackend) -> None:
    backend.error = ConnectionError("away")
    async with open_caches("lonely", stage_context(**TOY_BACKEND), SHARES) as caches:
        failures = caches.negative(lambda _: False)
        await failures.put(VIDEO.key, NOT_FOUND)
        assert await failures.get(VIDEO.key) is not None
        assert await caches.video_info(stage_context().tables["video-info"]).get("a") is None
    assert metric_value("shared_cache_calls_total", "lonely", operation="set", outcome="error") == 1
    assert (
        metric_value("shared_cache_calls_total", "lonely", operation="get", outcome="skipped") == 1
    )


async def test_missing_backend_is_a_config_error() -> None:
    with pytest.raises(ClipmillError, match="'nowhere' is not installed") as caught:
        async with open_caches("none", stage_context(backend="nowhere"), SHARES):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


async def test_memory_pressure_evicts_half_of_each_cache() -> None:
    context = stage_context(negative_seconds=60)
    async with open_caches("short", context, SHARES) as caches:
        failures = caches.negative(lambda _: False)
        for number in range(8):
            await failures.put(f"tiktok:{number}", NOT_FOUND)
        pages = caches.metadata()
        pages.read(TikTok(), VIDEO, make_extraction())
        for left in (4, 2, 1, 0):
            for evict_half in context.on_memory_pressure:
                evict_half()
            found = [await failures.get(f"tiktok:{number}") for number in range(8)]
            assert sum(each is not None for each in found) <= left
    labels = {"cache": "negative", "reason": "memory"}
    assert metric_value("cache_evictions_total", "short", **labels) == 8


async def test_sweeps_update_the_size_metrics() -> None:
    context = stage_context()
    async with open_caches("swept", context, SHARES) as caches:
        pages, choices = caches.metadata(), caches.format_choices()
        choices.choose(VIDEO, pages.read(TikTok(), VIDEO, make_extraction()), Options())
        (_, sweep), *_ = context.periodic
        assert effects_in(sweep()) == []
    for cache in ("metadata", "format_choice"):
        labels = {"cache": cache, "level": "memory"}
        assert metric_value("cache_entries", "swept", **labels) == 1
        assert metric_value("cache_bytes", "swept", **labels) > 1_000
    misses = {"cache": "metadata", "level": "memory", "outcome": "miss"}
    assert metric_value("cache_requests_total", "swept", **misses) == 1


async def test_cache_is_bounded_by_its_memory_share() -> None:
    context = stage_context(memory_bytes=100_000)
    async with open_caches("tiny", context, SHARES) as caches:
        dates = caches.upload_dates()
        for number in range(1_000):
            dates.put(f"tiktok:{number}", FUTURE)
        for _, sweep in context.periodic:
            effects_in(sweep())
    labels = {"cache": "upload_date", "level": "memory"}
    assert 0 < metric_value("cache_bytes", "tiny", **labels) <= 10_000


async def test_invalidation_applies_to_all_caches() -> None:
    context = stage_context()
    async with open_caches("refreshed", context, SHARES) as caches:
        table = table_of(context, "video-info")
        cache, failures = caches.video_info(table), caches.negative(lambda _: False)
        row = await cache.put(VIDEO.key, make_extraction(), None)
        table.store.put(VIDEO.key.encode(), row, 0)
        await failures.put(VIDEO.key, NOT_FOUND)
        assert await cache.get(VIDEO.key)
        assert await failures.get(VIDEO.key)
        invalidation = encode(RefreshSignal(by="ann", at=FUTURE))
        context.shared_state.put(f"refresh/{VIDEO.key}", invalidation)
        assert await cache.get(VIDEO.key) is None
        assert await failures.get(VIDEO.key) is None


async def test_caches_use_the_settings() -> None:
    context = stage_context(negative_seconds=0, table_bytes=1)
    async with open_caches("set", context, SHARES) as caches:
        failures = caches.negative(lambda _: False)
        await failures.put(VIDEO.key, NOT_FOUND)
        assert await failures.get(VIDEO.key) is None
        cache = caches.video_info(context.indexed_tables["video-info"])
        row = await cache.put(VIDEO.key, make_extraction(), None)
        assert keys_in(cache.sweep(index_of({VIDEO.key: row}))) == [VIDEO.key]


def test_latest_invalidation_counts() -> None:
    shared_state = SharedState()
    assert invalidated_at(shared_state, VIDEO.key) is None
    key, invalidation = f"refresh/{VIDEO.key}", encode(RefreshSignal(by="ann", at=PAST))
    shared_state.put(key, invalidation, live=False)
    assert invalidated_at(shared_state, VIDEO.key) == PAST
    assert invalidated_at(shared_state, "tiktok:1") is None
    shared_state.put(f"refresh/{VIDEO.key}", None)
    assert invalidated_at(shared_state, VIDEO.key) is None


@pytest.mark.parametrize("ahead", [-600, 600])
def test_invalidation_counts_from_its_arrival_under_clock_skew(
    ahead: float,
) -> None:
    shared_state, now = SharedState(), datetime.now(UTC)
    invalidation = RefreshSignal(by="ann", at=now + timedelta(seconds=ahead))
    shared_state.put(f"refresh/{VIDEO.key}", encode(invalidation))
    found = invalidated_at(shared_state, VIDEO.key)
    assert found is not None
    assert abs(found - now) < timedelta(seconds=5)


@pytest.mark.parametrize("value", [b"", b"\xff", b"{}", b'{"by":"a","at":"soon"}'])
def test_undecodable_invalidation_is_ignored(value: bytes) -> None:
    shared_state = SharedState()
    shared_state.put(f"refresh/{VIDEO.key}", value)
    assert invalidated_at(shared_state, VIDEO.key) is None
