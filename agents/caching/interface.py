"""The cache backend plug-in interface, its loader, and the report interface of all caches."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, Protocol

from schemas.errors import ClipmillError, ErrorCode


class CacheBackend(Protocol):
    """A key-value store with a TTL per key.

    Entries may be lost at any time. Calls may raise anything and take any time:
    `agents.caching.fail_safe_backend.FailSafeBackend` bounds them.
    """

    async def get(self, key: str, /) -> bytes | None:
        """Return the value, None for a miss."""
        ...

    async def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """Store a value for at most ``ttl_seconds``."""
        ...

    async def delete(self, key: str, /) -> None:
        """Delete a key; a missing one is no error."""
        ...


@dataclass(frozen=True, slots=True)
class BackendSettings:
    """Argument of `OpenBackend`.

    Attributes:
        url: of the server; may hold a password.
        timeout_seconds: per call; the caller cancels it then.
    """

    url: str | None = field(default=None, repr=False)
    timeout_seconds: float = 0.2


class OpenBackend(Protocol):
    """An entry point of the group ``clipmill.caches``.

    The server need not be reachable when the backend is opened.
    """

    def __call__(self, settings: BackendSettings, /) -> AbstractAsyncContextManager[CacheBackend]:
        """Return a context in which the backend is open."""
        ...


EvictionReason = Literal["ttl", "lru", "memory", "invalidated", "size"]
"""TTL expired; least recently used of a full cache; memory pressure; invalidated; first to expire
of a full table."""

CacheLevel = Literal["front", "table", "memory", "shared"]
"""Tier of a cache: ``front`` and ``memory`` in the process, ``shared`` outside of it."""

LookupOutcome = Literal["hit", "miss", "stale"]


class CacheReport(Protocol):
    """Records lookups, evictions and sizes of caches."""

    def record_lookup(self, cache: str, level: CacheLevel, outcome: LookupOutcome) -> None: ...

    def record_eviction(self, cache: str, reason: EvictionReason, count: int) -> None: ...

    def record_size(self, cache: str, level: CacheLevel, entries: int, size_bytes: int) -> None:
        """Record the current size."""
        ...


class NullReport:
    """A `CacheReport` that discards everything."""

    def record_lookup(self, cache: str, level: CacheLevel, outcome: LookupOutcome) -> None:
        """Do nothing."""

    def record_eviction(self, cache: str, reason: EvictionReason, count: int) -> None:
        """Do nothing."""

    def record_size(self, cache: str, level: CacheLevel, entries: int, size_bytes: int) -> None:
        """Do nothing."""


NULL_REPORT = NullReport()


GROUP = "clipmill.caches"
"""Entry points of this group are `OpenBackend` functions."""

IN_PROCESS = "memory"
"""Setting for no shared backend: caches are in the process and its table only."""


def find_backend(name: str, points: Iterable[EntryPoint] | None = None) -> OpenBackend | None:
    """Load the backend of this name, None for ``memory``.

    Raises:
        ClipmillError: ``system.config``; it is not installed, or cannot be loaded.
    """
    if name == IN_PROCESS:
        return None
    available = {point.name: point for point in points or entry_points(group=GROUP)}
    if name not in available:
        names = ", ".join(sorted({IN_PROCESS, *available}))
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG, f"cache.backend {name!r} is not installed; available: {names}."
        )
    return _load(available[name])


def _load(point: EntryPoint) -> OpenBackend:
    try:
        opener: OpenBackend = point.load()
    except Exception as error:
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG,
            f"cache.backend {point.name!r} ({point.value}) cannot be loaded:"
            f" {type(error).__name__}: {error}. Install what it needs"
            f" (for redis: pip install 'clipmill[redis]'), or set cache.backend to memory.",
        ) from error
    return opener
