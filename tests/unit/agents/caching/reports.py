"""What caches tell, kept for tests."""

from collections import Counter

from agents.caching.interface import EvictionReason, Level, Outcome


class Told:
    """A report that counts."""

    def __init__(self) -> None:
        self.lookups: Counter[tuple[str, str, str]] = Counter()
        self.evictions: Counter[tuple[str, str]] = Counter()
        self.sizes: dict[tuple[str, str], tuple[int, int]] = {}

    def looked_up(self, cache: str, level: Level, outcome: Outcome) -> None:
        self.lookups[cache, level, outcome] += 1

    def evicted(self, cache: str, reason: EvictionReason, count: int) -> None:
        if count:
            self.evictions[cache, reason] += count

    def sized(self, cache: str, level: Level, entries: int, size_bytes: int) -> None:
        self.sizes[cache, level] = (entries, size_bytes)
