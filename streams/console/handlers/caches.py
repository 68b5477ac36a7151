"""Figures of the caches, by worker and summed over the workers."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec
from aiohttp import web

from schemas.codec import Moment
from schemas.contract.examples import CACHE_STATE
from schemas.signals import CacheFigures, CacheLevelState, CacheState
from streams.console.health.shared_states import caches
from streams.console.http_messages import json_response
from streams.console.rendering import render
from streams.console.routes import RouteOperation, Routes
from streams.console.services import SERVICES

ROUTES = Routes()

PURPOSES: Mapping[str, str] = MappingProxyType(
    {
        "video_info": "extracted pages of posts",
        "metadata": "metadata and formats that were read from a page",
        "negative": "permanent failures, so that a deleted post is not requested again",
        "format_choice": "files that were chosen for a page and options",
        "upload_date": "upload dates of listings, which single pages lack",
        "files": "stored files, so that no file is downloaded twice",
    }
)


class CacheSum(msgspec.Struct, frozen=True, kw_only=True):
    """A cache of a stage; counters start with the process of each worker.

    Attributes:
        purpose: what it stores, as a phrase; empty for a cache of another version.
        workers: number of workers.
        lookups: number of lookups in the first level; the next levels are read only after a miss.
        hits: lookups that any level answered.
        hit_ratio: hits, as a share of the lookups, 0 to 1; null without any.
        entries: number of entries in the workers; an entry of the memory is also in the table.
        bytes: their size.
        expired: entries that were removed because their time was over.
        evicted: entries that were removed for any other reason.
        levels: the nearest first.
    """

    stage: str
    name: str
    purpose: str
    workers: int
    lookups: int
    hits: int
    hit_ratio: float | None
    entries: int
    bytes: int
    expired: int
    evicted: int
    levels: tuple[CacheLevelState, ...]


class WorkerCaches(msgspec.Struct, frozen=True, kw_only=True):
    """The caches of a stage in one worker.

    Attributes:
        started_at: start of the counters.
        at: time of the figures.
    """

    stage: str
    worker: str
    started_at: Moment
    at: Moment
    caches: tuple[CacheSum, ...]


class CacheList(msgspec.Struct, frozen=True, kw_only=True):
    """The caches of all workers that run.

    Attributes:
        caches: summed over the workers, by stage and name.
        workers: by stage and worker.
    """

    caches: tuple[CacheSum, ...]
    workers: tuple[WorkerCaches, ...]


def cache_list(states: Sequence[CacheState]) -> CacheList:
    return CacheList(caches=sum_caches(states), workers=tuple(map(_caches_of, states)))


def sum_caches(states: Iterable[CacheState]) -> tuple[CacheSum, ...]:
    """Return every cache, summed over the workers, by stage and name."""
    found: dict[tuple[str, str], list[CacheFigures]] = defaultdict(list)
    for state in states:
        for each in state.caches:
            found[state.stage, each.name].append(each)
    return tuple(_sum(stage, name, figures) for (stage, name), figures in sorted(found.items()))


def _caches_of(state: CacheState) -> WorkerCaches:
    return WorkerCaches(
        stage=state.stage,
        worker=state.worker,
        started_at=state.started_at,
        at=state.at,
        caches=sum_caches([state]),
    )


def _sum(stage: str, name: str, figures: Sequence[CacheFigures]) -> CacheSum:
    by_level: dict[str, list[CacheLevelState]] = defaultdict(list)
    for each in figures:
        for level in each.levels:
            by_level[level.level].append(level)
    levels = tuple(_sum_levels(level, parts) for level, parts in by_level.items())
    lookups = next((it for it in (each.hits + each.misses for each in levels) if it), 0)
    hits = sum(each.hits for each in levels)
    expired = sum(each.evictions.get("ttl", 0) for each in figures)
    return CacheSum(
        stage=stage,
        name=name,
        purpose=PURPOSES.get(name, ""),
        workers=len(figures),
        lookups=lookups,
        hits=hits,
        hit_ratio=min(hits / lookups, 1.0) if lookups else None,
        entries=sum(each.entries or 0 for each in levels),
        bytes=sum(each.bytes or 0 for each in levels),
        expired=expired,
        evicted=sum(sum(each.evictions.values()) for each in figures) - expired,
        levels=levels,
    )


def _sum_levels(level: str, parts: Sequence[CacheLevelState]) -> CacheLevelState:
    entries = [each.entries for each in parts if each.entries is not None]
    sizes = [each.bytes for each in parts if each.bytes is not None]
    return CacheLevelState(
        level=level,
        hits=sum(each.hits for each in parts),
        misses=sum(each.misses for each in parts),
        stale=sum(each.stale for each in parts),
        entries=sum(entries) if entries else None,
        bytes=sum(sizes) if sizes else None,
    )


@ROUTES.get("/caches")
async def caches_page(request: web.Request) -> web.StreamResponse:
    found = cache_list(caches(request.app[SERVICES].shared_state, datetime.now(UTC)))
    return render(request, "caches.html", sums=found.caches, workers=found.workers)


@ROUTES.operation(
    RouteOperation(
        method="get",
        path="/caches",
        name="listCaches",
        summary="Return the figures of all caches, at most 2 minutes old.",
        response=CacheList,
        example=msgspec.to_builtins(cache_list([CACHE_STATE])),
    )
)
async def list_caches(request: web.Request) -> web.StreamResponse:
    found = cache_list(caches(request.app[SERVICES].shared_state, datetime.now(UTC)))
    return json_response(msgspec.to_builtins(found))
