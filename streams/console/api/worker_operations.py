"""Operations on caches and engines, and the types of their JSON."""

import msgspec

from schemas.contract.examples import CACHE_STATE, ENGINE_STATE
from schemas.signals import EngineState
from streams.console.api.operations import Operation
from streams.console.caches import CacheSum, WorkerCaches, caches_of, sum_caches


class CacheList(msgspec.Struct, frozen=True, kw_only=True):
    """The caches of all workers that run.

    Attributes:
        caches: summed over the workers, by stage and name.
        workers: by stage and worker.
    """

    caches: tuple[CacheSum, ...]
    workers: tuple[WorkerCaches, ...]


class EngineList(msgspec.Struct, frozen=True, kw_only=True):
    """The engines of all workers that run, by worker."""

    engines: tuple[EngineState, ...]


OPERATIONS = (
    Operation(
        method="get",
        path="/caches",
        name="listCaches",
        summary="Return the figures of all caches, at most 2 minutes old.",
        response=CacheList,
        example=msgspec.to_builtins(
            CacheList(caches=sum_caches([CACHE_STATE]), workers=(caches_of(CACHE_STATE),))
        ),
    ),
    Operation(
        method="get",
        path="/engine",
        name="showEngine",
        summary="Return the extraction engine of each worker, at most 2 minutes old.",
        response=EngineList,
        example=msgspec.to_builtins(EngineList(engines=(ENGINE_STATE,))),
    ),
)
