"""What a cache outside of the process must offer, and what all caches tell about themselves."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol


class CacheBackend(Protocol):
    """Bytes under text keys, each for a while.

    It may lose anything at any time. It may raise anything and be as slow as it likes: it is
    asked through `agents.caching.fail_safe_backend.GuardedBackend`.
    """

    async def get(self, key: str, /) -> bytes | None:
        """Return the value, None when there is none any more."""
        ...

    async def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """Keep a value for so many seconds, at most."""
        ...

    async def delete(self, key: str, /) -> None:
        """Forget a value; one that is not there is no error."""
        ...


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """What a backend is opened with.

    Attributes:
        url: where it is; may hold a password.
        timeout_seconds: how long one call may take; it is cut off then.
    """

    url: str | None = field(default=None, repr=False)
    timeout_seconds: float = 0.2


class OpenBackend(Protocol):
    """What an entry point of the group ``clipmill.caches`` names: opens a backend.

    It need not be reachable at that time.
    """

    def __call__(self, settings: BackendSettings, /) -> AbstractAsyncContextManager[CacheBackend]:
        """Return a context in which the backend is open."""
        ...


EvictionReason = Literal["ttl", "lru", "memory", "invalidated", "size"]
"""Its time was over; it was the least recently used of too many; memory was short; it was not
true any more; it was the first to end of too many rows."""

Level = Literal["front", "table", "memory", "shared"]
"""Where something is remembered: ``front`` and ``memory`` in the process, ``shared`` outside."""

Outcome = Literal["hit", "miss", "stale"]


class CacheReport(Protocol):
    """Is told what caches do."""

    def looked_up(self, cache: str, level: Level, outcome: Outcome) -> None:
        """Note a look-up at one level."""
        ...

    def evicted(self, cache: str, reason: EvictionReason, count: int) -> None:
        """Note what a cache let go of."""
        ...

    def sized(self, cache: str, level: Level, entries: int, size_bytes: int) -> None:
        """Note how much there is now."""
        ...


class Silence:
    """A report that nobody reads."""

    def looked_up(self, cache: str, level: Level, outcome: Outcome) -> None:
        """Do nothing."""

    def evicted(self, cache: str, reason: EvictionReason, count: int) -> None:
        """Do nothing."""

    def sized(self, cache: str, level: Level, entries: int, size_bytes: int) -> None:
        """Do nothing."""


SILENCE = Silence()
