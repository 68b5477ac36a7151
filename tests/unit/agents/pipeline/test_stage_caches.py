from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agents.caching.interface import BackendSettings, CacheBackend
from agents.extraction.agent import MEMORY_SHARES as EXTRACTION_SHARES
from agents.pipeline import stage_caches as caches_module
from agents.pipeline.stage_caches import open_caches
from agents.platforms.tiktok.handler import TikTok
from agents.selection import MEMORY_SHARES as SELECTION_SHARES
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import Options
from schemas.signals import RefreshSignal
from streams.observability.metrics import REGISTRY
from streams.stage import StageContext
from tests.unit.agents.builders import (
    FUTURE,
    VIDEO,
    make_context,
    make_extraction,
    make_settings,
)
from tests.unit.agents.caching.backends import Dictionary

SHARES = {**EXTRACTION_SHARES, **SELECTION_SHARES}
GONE = ClipmillError(ErrorCode.CONTENT_NOT_FOUND, "gone")


def context_of(**cache: Any) -> StageContext:
    return make_context(make_settings(cache=cache), "video-info")[0]


def sample(name: str, stage: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(f"clipmill_{name}", {"stage": stage, **labels})
    return value or 0.0


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Dictionary:
    """The installed backend ``toy``, and what it was opened with in `values`."""
    made = Dictionary()

    @asynccontextmanager
    async def open_toy(settings: BackendSettings) -> AsyncIterator[CacheBackend]:
        assert settings == BackendSettings("redis://here", 0.5)
        yield made

    monkeypatch.setattr(caches_module, "find_backend", {"toy": open_toy}.get)
    return made


@pytest.mark.parametrize("shares", [EXTRACTION_SHARES, SELECTION_SHARES], ids=["ex", "sel"])
def test_a_stage_gives_out_the_memory_that_it_has(shares: dict[str, float]) -> None:
    assert sum(shares.values()) == pytest.approx(1.0)
    assert min(shares.values()) > 0


async def test_nothing_is_shared_by_default() -> None:
    async with open_caches("plain", context_of(), SHARES) as caches:
        failures = caches.negative(lambda _: False)
        await failures.note(VIDEO.key, GONE)
        assert await failures.get(VIDEO.key) is not None
    async with open_caches("plain", context_of(), SHARES) as caches:
        assert await caches.negative(lambda _: False).get(VIDEO.key) is None


TOY = {"backend": "toy", "redis_url": "redis://here", "backend_timeout_seconds": 0.5}


async def test_a_backend_is_shared_by_all_who_have_the_same_settings(backend: Dictionary) -> None:
    before = sample("shared_cache_calls_total", "other", operation="get", outcome="ok")
    async with open_caches("one", context_of(**TOY), SHARES) as caches:
        table = context_of().tables["video-info"]
        await caches.video_info(table).put(VIDEO.key, make_extraction(), None)
        await caches.negative(lambda _: False).note("tiktok:gone", GONE)
    async with open_caches("other", context_of(**TOY), SHARES) as caches:
        empty = context_of().tables["video-info"]
        assert await caches.video_info(empty).get(VIDEO.key) is not None
        assert await caches.negative(lambda _: False).get("tiktok:gone") is not None
    after = sample("shared_cache_calls_total", "other", operation="get", outcome="ok")
    assert after - before == 2
    assert all(key.startswith("clipmill:") for key in backend.values)
    elsewhere = make_settings(cache=TOY, egress={"proxy": "http://elsewhere:1"})
    context, _ = make_context(elsewhere, "video-info")
    async with open_caches("elsewhere", context, SHARES) as caches:
        assert await caches.video_info(context.tables["video-info"]).get(VIDEO.key) is None


async def test_a_backend_that_is_away_fails_nobody(backend: Dictionary) -> None:
    backend.away = ConnectionError("away")
    async with open_caches("lonely", context_of(**TOY), SHARES) as caches:
        failures = caches.negative(lambda _: False)
        await failures.note(VIDEO.key, GONE)
        assert await failures.get(VIDEO.key) is not None
        assert await caches.video_info(context_of().tables["video-info"]).get("a") is None
    assert sample("shared_cache_calls_total", "lonely", operation="set", outcome="error") == 1
    assert sample("shared_cache_calls_total", "lonely", operation="get", outcome="skipped") == 1


async def test_a_backend_that_is_not_installed_is_a_matter_of_settings() -> None:
    with pytest.raises(ClipmillError, match="'nowhere' is not installed") as caught:
        async with open_caches("none", context_of(backend="nowhere"), SHARES):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


async def test_when_memory_is_short_each_cache_lets_go_of_half() -> None:
    context = context_of(negative_seconds=60)
    async with open_caches("short", context, SHARES) as caches:
        failures = caches.negative(lambda _: False)
        for number in range(8):
            await failures.note(f"tiktok:{number}", GONE)
        pages = caches.metadata()
        pages.read(TikTok(), VIDEO, make_extraction())
        for left in (4, 2, 1, 0):
            for relief in context.reliefs:
                relief()
            found = [await failures.get(f"tiktok:{number}") for number in range(8)]
            assert sum(each is not None for each in found) <= left
    labels = {"cache": "negative", "reason": "memory"}
    assert sample("cache_evictions_total", "short", **labels) == 8


async def test_sweeps_tell_how_much_there_is() -> None:
    context = context_of()
    async with open_caches("swept", context, SHARES) as caches:
        pages, choices = caches.metadata(), caches.format_choices()
        choices.choose(VIDEO, pages.read(TikTok(), VIDEO, make_extraction()), Options())
        for _, sweep in context.sweeps:
            assert list(sweep()) == []
    for cache in ("metadata", "format_choice"):
        labels = {"cache": cache, "level": "memory"}
        assert sample("cache_entries", "swept", **labels) == 1
        assert sample("cache_bytes", "swept", **labels) > 1_000
    looked = {"cache": "metadata", "level": "memory", "outcome": "miss"}
    assert sample("cache_requests_total", "swept", **looked) == 1


async def test_no_cache_grows_beyond_its_share() -> None:
    context = context_of(memory_bytes=100_000)
    async with open_caches("tiny", context, SHARES) as caches:
        dates = caches.upload_dates()
        for number in range(1_000):
            dates.note(f"tiktok:{number}", FUTURE)
        for _, sweep in context.sweeps:
            sweep()
    labels = {"cache": "upload_date", "level": "memory"}
    assert 0 < sample("cache_bytes", "tiny", **labels) <= 10_000


async def test_what_users_have_forgotten_is_forgotten_everywhere() -> None:
    context = context_of()
    async with open_caches("refreshed", context, SHARES) as caches:
        table = context.tables["video-info"]
        cache, failures = caches.video_info(table), caches.negative(lambda _: False)
        row = await cache.put(VIDEO.key, make_extraction(), None)
        table._table.data.data[VIDEO.key.encode()] = row
        await failures.note(VIDEO.key, GONE)
        assert await cache.get(VIDEO.key)
        assert await failures.get(VIDEO.key)
        order = encode(RefreshSignal(by="ann", at=FUTURE))
        context.signals.put(f"refresh/{VIDEO.key}", order)
        assert await cache.get(VIDEO.key) is None
        assert await failures.get(VIDEO.key) is None


async def test_the_settings_are_the_caches() -> None:
    context = context_of(negative_seconds=0, table_bytes=1)
    async with open_caches("set", context, SHARES) as caches:
        failures = caches.negative(lambda _: False)
        await failures.note(VIDEO.key, GONE)
        assert await failures.get(VIDEO.key) is None
        cache = caches.video_info(context.tables["video-info"])
        row = await cache.put(VIDEO.key, make_extraction(), None)
        assert cache.expired([(VIDEO.key, row)]) == [VIDEO.key]
