"""Values kept in the process: each for a while, all together within a number of bytes."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar

from cachetools import TLRUCache

from agents.caching.interface import NULL_REPORT, CacheReport, EvictionReason, Level

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

ENTRY_OVERHEAD_BYTES = 550
"""Of memory for each entry beside key and value: cachetools' bookkeeping, and the left-overs of
entries that are gone, of which it keeps as many as there are entries. Measured (CPython 3.11): 410
where entries are set once, 530 where they are set again and again."""

BYTES = 4 * 2**20
"""Room of a cache that was given none."""


class _Entry(NamedTuple, Generic[V]):
    value: V
    size: int
    ends_at: float


class _Entries(TLRUCache[K, _Entry[V], float]):
    """cachetools' cache, which says what it lets go of (its documented way to learn that)."""

    def __init__(
        self, size: int, clock: Callable[[], float], evicted: Callable[[EvictionReason, int], None]
    ) -> None:
        super().__init__(
            size, lambda _key, entry, _now: entry.ends_at, clock, lambda entry: entry.size
        )
        self._evicted = evicted

    def expire(self, time: float | None = None) -> list[tuple[K, _Entry[V]]]:
        gone = list(super().expire(time))
        if gone:
            self._evicted("ttl", len(gone))
        return gone

    def popitem(self) -> tuple[K, _Entry[V]]:
        pair = super().popitem()
        self._evicted("lru", 1)
        return pair

    def shed(self, size: float) -> None:
        """Let go of the least recently used until the rest has this size at most."""
        while self.currsize > size:
            super().popitem()
            self._evicted("memory", 1)


class BoundedCache(Generic[K, V]):
    """Values by key. Of too many, the least recently used go.

    Args:
        name: of the cache, for its report.
        life_seconds: how long a value is kept, unless `set` says otherwise.
        bytes_max: room for all entries, `ENTRY_OVERHEAD_BYTES` included.
        size_of: bytes of a key and its value; what cannot be measured cheaply is estimated.
        clock: seconds.
        level: which level of the cache this is.
        report: is told what happens.
    """

    def __init__(
        self,
        name: str,
        life_seconds: float,
        *,
        bytes_max: int = BYTES,
        size_of: Callable[[K, V], int] = lambda _key, _value: 0,
        clock: Callable[[], float] = time.monotonic,
        level: Level = "memory",
        report: CacheReport = NULL_REPORT,
    ) -> None:
        self._name = name
        self._life = life_seconds
        self._size_of = size_of
        self._clock = clock
        self._level: Level = level
        self._report = report
        self._entries: _Entries[K, V] = _Entries(bytes_max, clock, self._evicted)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Bytes of all entries."""
        return int(self._entries.currsize)

    def get(self, key: K) -> V | None:
        """Return the value of a key, None when there is none any more."""
        value = self.peek(key)
        self._report.looked_up(self._name, self._level, "miss" if value is None else "hit")
        return value

    def peek(self, key: K) -> V | None:
        """Return the same without counting it as a look-up."""
        entry = self._entries.get(key)
        return None if entry is None else entry.value

    def set(self, key: K, value: V, life_seconds: float | None = None) -> None:
        """Keep a value; one that is too large for the whole cache, or over already, is not kept."""
        life = self._life if life_seconds is None else life_seconds
        size = self._size_of(key, value) + ENTRY_OVERHEAD_BYTES
        if life <= 0 or size > self._entries.maxsize:
            self.delete(key)
            return
        self._entries[key] = _Entry(value, size, self._clock() + life)

    def delete(self, key: K) -> None:
        """Forget a value, because it is not true any more."""
        self._entries.expire()
        if self._entries.pop(key, None) is not None:
            self._evicted("invalidated", 1)

    def shed(self, share: float) -> None:
        """Let go of this share of the bytes, the least recently used first: memory is short."""
        self._entries.shed(self.size_bytes * (1 - share))

    def sweep(self) -> None:
        """Let go of what is over, and tell how much is left."""
        self._entries.expire()
        self._report.sized(self._name, self._level, len(self), self.size_bytes)

    def _evicted(self, reason: EvictionReason, count: int) -> None:
        self._report.evicted(self._name, reason, count)


def size_of(key: str, value: bytes) -> int:
    """Return the bytes of an entry's key and value, with Python's own for each."""
    return len(key) + len(value) + 90


class MemoryBackend:
    """Bytes by key, within the bounds of its store. Its user counts the look-ups.

    Args:
        store: keeps them; made with `size_of`.
    """

    def __init__(self, store: BoundedCache[str, bytes]) -> None:
        self._store = store

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when there is none any more."""
        return self._store.peek(key)

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Keep a value for so many seconds, unless there is no room for it."""
        self._store.set(key, value, ttl_seconds)

    async def delete(self, key: str) -> None:
        """Forget a value."""
        self._store.delete(key)
