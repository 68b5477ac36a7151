from collections.abc import Sequence
from typing import cast

from agents.download.file_index import TABLE, sweep_files
from agents.pipeline.cache_states import publish_cache_states, read_figures
from agents.pipeline.stage_caches import CacheMetrics
from schemas.codec import decode
from schemas.signals import CACHE, CacheFigures, CacheLevelState, CacheState
from streams.records import Outgoing
from streams.stage import StageContext
from tests.unit.agents.builders import make_context, make_settings


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
