"""What caches tell about themselves, as metrics of their stage."""

from agents.caching.fail_safe_backend import CallOutcome
from agents.caching.interface import EvictionReason, Level, Outcome
from streams.observability.metrics import (
    CACHE_BYTES,
    CACHE_ENTRIES,
    CACHE_EVICTIONS,
    CACHE_REQUESTS,
    SHARED_CACHE_CALLS,
)


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
