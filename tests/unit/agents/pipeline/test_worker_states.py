from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

import msgspec
import pytest

from agents.download.file_index import TABLE, sweep_files
from agents.pipeline.stage_caches import CacheMetrics
from agents.pipeline.worker_states import (
    CACHES_KIND,
    CHANGE_SECONDS,
    WorkerStates,
    publish_cache_states,
    read_figures,
)
from schemas.codec import decode
from schemas.contract.examples import CACHE_STATE
from schemas.signals import CACHE, WORKER_STATE_SECONDS, CacheFigures, CacheLevelState, CacheState
from streams.records import Outgoing
from streams.stage import StageContext
from streams.topics import SIGNALS
from tests.unit.agents.builders import make_context, make_settings

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = "cache/extraction/box"


def reader(number: int) -> Callable[[datetime], CacheState]:
    """Return a function that reads the figures of a number of changes."""
    (first, *rest) = CACHE_STATE.caches
    changed = msgspec.structs.replace(first, evictions={"ttl": number})
    return lambda now: msgspec.structs.replace(CACHE_STATE, caches=(changed, *rest), at=now)


def after(seconds: float, number: int) -> bool:
    """Return whether a state is published this long after the first one."""
    states = WorkerStates(KEY, CACHES_KIND, "extraction")
    assert states.update(reader(0), START)
    return bool(states.update(reader(number), START + timedelta(seconds=seconds)))


@pytest.mark.parametrize(
    ("seconds", "number", "expected"),
    [
        (CHANGE_SECONDS - 1, 1, False),
        (CHANGE_SECONDS, 1, True),
        (CHANGE_SECONDS, 0, False),
        (WORKER_STATE_SECONDS - 1, 0, False),
        (WORKER_STATE_SECONDS, 0, True),
        # The clock was set back.
        (-WORKER_STATE_SECONDS, 0, True),
    ],
)
def test_state_is_published_when_it_has_changed_or_is_old(
    seconds: float, number: int, expected: bool
) -> None:
    assert after(seconds, number) is expected


def test_figures_are_not_read_until_they_may_be_due() -> None:
    states = WorkerStates(KEY, CACHES_KIND, "extraction")
    states.update(reader(0), START)

    def read(_now: datetime) -> CacheState:
        raise AssertionError

    assert states.update(read, START + timedelta(seconds=1)) == []


def test_record_has_the_key_and_the_state() -> None:
    (record,) = WorkerStates(KEY, CACHES_KIND, "extraction").update(reader(3), START)
    assert record.topic is SIGNALS
    assert record.key == KEY.encode()
    assert record.value is not None
    assert decode(record.value, CacheState) == reader(3)(START)


def published(context: StageContext) -> dict[str, CacheState]:
    """Run all periodic tasks once; return the states by key."""
    records: list[Outgoing] = []
    for _, task in context.periodic:
        for effects in task():
            records += cast(Sequence[Outgoing], effects)
    return {
        (each.key or b"").decode(): decode(each.value or b"", CacheState)
        for each in records
        if (each.key or b"").startswith(CACHE.encode())
    }


def test_figures_of_a_stage_are_those_of_its_metrics_in_the_order_of_look_ups() -> None:
    report = CacheMetrics("figures")
    for level in ("shared", "front"):
        report.record_lookup("video_info", level, "miss")
    report.record_lookup("video_info", "front", "hit")
    report.record_lookup("video_info", "shared", "stale")
    report.record_size("video_info", "front", 3, 300)
    report.record_eviction("video_info", "ttl", 2)
    CacheMetrics("other").record_lookup("video_info", "front", "hit")
    assert read_figures("figures") == (
        CacheFigures(
            name="video_info",
            levels=(
                CacheLevelState(level="front", hits=1, misses=1, entries=3, bytes=300),
                CacheLevelState(level="shared", misses=1, stale=1),
            ),
            evictions={"ttl": 2},
        ),
    )


def test_stage_publishes_its_caches_under_its_name_and_that_of_its_worker() -> None:
    context, _ = make_context(make_settings())
    publish_cache_states("none", context)
    (state,) = published(context).values()
    assert list(published(context)) == []
    assert (state.stage, state.worker, state.caches) == ("none", "worker", ())


def test_index_of_files_is_published_with_its_size() -> None:
    context, _ = make_context(make_settings(), TABLE)
    sweep_files(context)
    state = published(context)[f"{CACHE}download/worker"]
    (files,) = (each for each in state.caches if each.name == TABLE)
    (table,) = (each for each in files.levels if each.level == "table")
    assert (table.entries, table.bytes) == (0, 0)
