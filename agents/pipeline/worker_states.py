"""Publishes states of this worker to the shared state, for the console: its caches, its engine.

A state is published when it has changed, but at most every `CHANGE_SECONDS`, and unchanged every
`WORKER_STATE_SECONDS`, so that a reader recognises a worker that has stopped.
"""

import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec
from prometheus_client import Counter, Gauge

from schemas.codec import encode
from schemas.signals import (
    CACHE,
    WORKER_STATE_SECONDS,
    CacheFigures,
    CacheLevelState,
    CacheState,
    EngineState,
)
from streams.envelope import seal
from streams.observability.metrics import (
    CACHE_BYTES,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_REQUESTS,
)
from streams.records import Outgoing
from streams.stage import StageContext
from streams.topics import SIGNALS

SWEEP_SECONDS = 5.0
"""Interval of the checks whether a state is due; one that is not costs nothing."""

CHANGE_SECONDS = 30.0
"""A record of 0.7 KB for each stage with caches: at 100 busy workers every process reads 7 KB/s."""

CACHES_KIND = "caches.changed.v1"

STARTED_AT = datetime.now(UTC)
"""Start of the counters of caches: they are of the process, and outlive a restart of the stage."""

LEVELS = ("front", "memory", "table", "shared", "storage")
"""All levels of a cache, in the order of the lookups."""

_FIELDS = {"hit": "hits", "miss": "misses", "stale": "stale"}

WorkerState = TypeVar("WorkerState", CacheState, EngineState)


class WorkerStates:
    """Decides when the state of one key is due.

    Args:
        key: of the shared state.
        kind: CloudEvents type of the records, without the prefix.
        step: the stage that publishes them.
    """

    def __init__(self, key: str, kind: str, step: str) -> None:
        self._key = key
        self._kind = kind
        self._step = step
        self._published: CacheState | EngineState | None = None

    def update(self, read: Callable[[datetime], WorkerState], now: datetime) -> list[Outgoing]:
        """Return the record of the state, if it is due; ``read`` is called only if it may be."""
        if self._age(now) < CHANGE_SECONDS:
            return []
        state = read(now)
        if self._age(now) < WORKER_STATE_SECONDS and self._is_unchanged(state):
            return []
        self._published = state
        return [self._record(state)]

    def _age(self, now: datetime) -> float:
        if self._published is None:
            return WORKER_STATE_SECONDS
        # A clock that was set back must not silence the worker.
        return abs((now - self._published.at).total_seconds())

    def _is_unchanged(self, state: WorkerState) -> bool:
        published = self._published
        return published is not None and state == msgspec.structs.replace(published, at=state.at)

    def _record(self, state: WorkerState) -> Outgoing:
        return seal(
            SIGNALS,
            self._key,
            encode(state),
            kind=self._kind,
            step=self._step,
            event_id=f"{self._key}:{state.at.isoformat()}",
            request_id=self._key,
            trace_id=secrets.token_hex(16),
        )


def publish_periodically(
    context: StageContext, states: WorkerStates, read: Callable[[datetime], WorkerState]
) -> None:
    """Schedule the publication of a state."""

    def sweep() -> tuple[Sequence[Outgoing], ...]:
        return (states.update(read, datetime.now(UTC)),)

    context.periodic.append((SWEEP_SECONDS, sweep))


def publish_cache_states(stage: str, context: StageContext) -> None:
    """Schedule the publication of a stage's caches: what their metrics count in this process."""

    def read(now: datetime) -> CacheState:
        return CacheState(
            stage=stage,
            worker=context.worker,
            started_at=STARTED_AT,
            caches=read_figures(stage),
            at=now,
        )

    key = f"{CACHE}{stage}/{context.worker}"
    publish_periodically(context, WorkerStates(key, CACHES_KIND, stage), read)


def read_figures(stage: str) -> tuple[CacheFigures, ...]:
    """Return the caches of a stage by name; 0.2 ms."""
    levels: dict[str, dict[str, CacheLevelState]] = defaultdict(dict)
    for metric, field in ((CACHE_ENTRIES, "entries"), (CACHE_BYTES, "bytes")):
        for labels, value in _samples(metric, stage):
            _set(levels, labels, field, value)
    for labels, value in _samples(CACHE_REQUESTS, stage):
        _set(levels, labels, _FIELDS[labels["outcome"]], value)
    evictions: dict[str, dict[str, int]] = defaultdict(dict)
    for labels, value in _samples(CACHE_EVICTIONS, stage):
        evictions[labels["cache"]][labels["reason"]] = value
    return tuple(
        CacheFigures(
            name=name,
            levels=tuple(levels[name][each] for each in LEVELS if each in levels[name]),
            evictions=evictions.get(name, {}),
        )
        for name in sorted(levels)
    )


def _set(
    levels: dict[str, dict[str, CacheLevelState]], labels: dict[str, str], field: str, value: int
) -> None:
    cache, level = labels["cache"], labels["level"]
    known = levels[cache].get(level, CacheLevelState(level=level))
    levels[cache][level] = msgspec.structs.replace(known, **{field: value})


def _samples(metric: Counter | Gauge, stage: str) -> list[tuple[dict[str, str], int]]:
    """Return labels and value of the series of a stage, without the times of their creation."""
    (family,) = metric.collect()
    return [
        (each.labels, int(each.value))
        for each in family.samples
        if each.labels.get("stage") == stage and not each.name.endswith("_created")
    ]
