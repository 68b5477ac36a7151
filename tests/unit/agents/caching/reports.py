"""A cache report double."""

from collections import Counter

from agents.caching.interface import CacheLevel, EvictionReason, LookupOutcome


class CountingReport:
    """Counts what caches report."""

    def __init__(self) -> None:
        self.lookups: Counter[tuple[str, str, str]] = Counter()
        self.evictions: Counter[tuple[str, str]] = Counter()
        self.sizes: dict[tuple[str, str], tuple[int, int]] = {}

    def record_lookup(self, cache: str, level: CacheLevel, outcome: LookupOutcome) -> None:
        self.lookups[cache, level, outcome] += 1

    def record_eviction(self, cache: str, reason: EvictionReason, count: int) -> None:
        if count:
            self.evictions[cache, reason] += count

    def record_size(self, cache: str, level: CacheLevel, entries: int, size_bytes: int) -> None:
        self.sizes[cache, level] = (entries, size_bytes)
