"""Figures of caches and engines: summed, as a page, and as JSON."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from schemas.codec import encode
from schemas.contract.examples import CACHE_STATE, ENGINE_STATE
from schemas.signals import (
    CACHE,
    ENGINE,
    CacheFigures,
    CacheLevelState,
    CacheState,
    EngineState,
)
from streams.console.handlers.caches import sum_caches
from streams.console.health.shared_states import STALE_WORKER
from tests.unit.streams.console.consoles import HOSTILE, Console, running_console
from tests.unit.streams.console.test_pages import Links

START = datetime(2026, 11, 30, tzinfo=UTC)


def now() -> datetime:
    """Return the present: the console drops states by its own clock."""
    return datetime.now(UTC)


def state(*levels: CacheLevelState, worker: str = "a", **evictions: int) -> CacheState:
    figures = CacheFigures(name="video_info", levels=levels, evictions=evictions)
    return CacheState(
        stage="extraction", worker=worker, started_at=START, caches=(figures,), at=START
    )


def level(name: str, hits: int, misses: int, **fields: int) -> CacheLevelState:
    return CacheLevelState(level=name, hits=hits, misses=misses, **fields)


@pytest.mark.parametrize(
    ("states", "lookups", "hits", "hit_ratio"),
    [
        ([state()], 0, 0, None),
        ([state(level("front", 0, 0))], 0, 0, None),
        ([state(level("front", 3, 1))], 4, 3, 0.75),
        # The table is asked after a miss of the front.
        ([state(level("front", 2, 2), level("table", 1, 1))], 4, 3, 0.75),
        ([state(level("front", 0, 0), level("table", 1, 1))], 2, 1, 0.5),
        ([state(level("front", 3, 1)), state(level("front", 1, 3), worker="b")], 8, 4, 0.5),
        # Figures that are not of one time.
        ([state(level("front", 1, 0), level("table", 1, 0))], 1, 2, 1.0),
    ],
)
def test_hits_of_all_levels_count_for_the_look_ups_of_the_first(
    states: list[CacheState], lookups: int, hits: int, hit_ratio: float | None
) -> None:
    (found,) = sum_caches(states)
    assert (found.lookups, found.hits, found.hit_ratio) == (lookups, hits, hit_ratio)
    assert found.workers == len(states)


def test_sizes_and_evictions_are_summed_over_workers_and_levels() -> None:
    one = state(level("front", 0, 0, entries=1, bytes=10), level("shared", 0, 0), ttl=2, lru=3)
    other = state(level("front", 0, 0, entries=4, bytes=20), worker="b", ttl=1)
    (found,) = sum_caches([one, other])
    assert (found.entries, found.bytes, found.expired, found.evicted) == (5, 30, 3, 3)
    front, shared = found.levels
    assert (front.entries, shared.entries) == (5, None)


def add(client: Console, *states: CacheState | EngineState) -> None:
    for each in states:
        prefix = f"{CACHE}{each.stage}/" if isinstance(each, CacheState) else ENGINE
        client.services.shared_state.put(f"{prefix}{each.worker}", encode(each))


def at(moment: datetime, name: str) -> tuple[CacheState, EngineState]:
    """Return the states of a worker of this name."""
    return (
        msgspec.structs.replace(CACHE_STATE, worker=name, at=moment),
        msgspec.structs.replace(ENGINE_STATE, worker=name, at=moment),
    )


@pytest.mark.parametrize("path", ["caches", "engine"])
async def test_workers_that_have_stopped_are_left_out(tmp_path: Path, path: str) -> None:
    async with running_console(tmp_path) as client:
        add(client, *at(now(), "runs"), *at(now() - STALE_WORKER, "stopped"))
        client.services.shared_state.put(f"{CACHE}malformed", b"{")
        client.services.shared_state.put(f"{ENGINE}malformed", b"{}")
        body = await (await client.get(f"/api/v1/{path}")).json()
    workers = body["workers" if path == "caches" else "engines"]
    assert [each["worker"] for each in workers] == ["runs"]


async def test_page_shows_caches_by_worker_and_summed(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        empty = Links(await (await client.get("/caches")).text()).text
        add(client, *at(now(), "one"), *at(now(), "two"))
        text = Links(await (await client.get("/caches")).text()).text
    assert "No worker has published its caches yet." in empty
    assert "extraction, 2 workers" in text
    assert "95.0\N{NO-BREAK SPACE}%" in text
    assert "front: 1,780 hits, 220 misses" in text


async def test_page_of_the_pipeline_shows_the_engines(tmp_path: Path) -> None:
    async with running_console(tmp_path) as client:
        without = Links(await (await client.get("/pipeline")).text()).text
        _, engine = at(now(), "one")
        add(client, msgspec.structs.replace(engine, processes_alive=1, impersonation=False))
        text = Links(await (await client.get("/pipeline")).text()).text
    assert "No worker runs an engine" in without
    assert "yt-dlp 2026.10.26, curl_cffi 0.16.3" in text
    assert "1 of 2" in text
    assert "no impersonation of browsers" in text


@pytest.mark.parametrize("page", ["caches", "pipeline", "overview"])
async def test_texts_of_workers_are_shown_as_text(tmp_path: Path, page: str) -> None:
    async with running_console(tmp_path) as client:
        cache, engine = at(now() + timedelta(seconds=1), HOSTILE)
        figures = CacheFigures(name=HOSTILE, levels=(CacheLevelState(level=HOSTILE),))
        add(
            client,
            msgspec.structs.replace(cache, stage=HOSTILE, caches=(figures,)),
            msgspec.structs.replace(engine, processes_alive=0),
        )
        found = Links(await (await client.get(f"/{page}")).text())
    assert found.scripts == ["static/theme.js", "static/console.js"]
    assert HOSTILE[:-1] in found.text
