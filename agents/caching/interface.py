"""What a cache outside of the process must offer, and what all caches tell about themselves."""

from collections.abc import Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, Protocol

from schemas.errors import ClipmillError, ErrorCode


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


class NullReport:
    """A report that nobody reads."""

    def looked_up(self, cache: str, level: Level, outcome: Outcome) -> None:
        """Do nothing."""

    def evicted(self, cache: str, reason: EvictionReason, count: int) -> None:
        """Do nothing."""

    def sized(self, cache: str, level: Level, entries: int, size_bytes: int) -> None:
        """Do nothing."""


NULL_REPORT = NullReport()


GROUP = "clipmill.caches"
"""Entry points of this group name functions that are an `OpenBackend`."""

IN_PROCESS = "memory"
"""Name of no backend: nothing is shared, all that is remembered is in the process and its table."""


def find_backend(name: str, points: Iterable[EntryPoint] | None = None) -> OpenBackend | None:
    """Return what opens the backend of this name, None for ``memory``.

    Raises:
        ClipmillError: ``system.config``; it is not installed, or cannot be loaded.
    """
    if name == IN_PROCESS:
        return None
    offered = {point.name: point for point in points or entry_points(group=GROUP)}
    if name not in offered:
        names = ", ".join(sorted({IN_PROCESS, *offered}))
        raise ClipmillError(
            ErrorCode.SYSTEM_CONFIG, f"cache.backend {name!r} is not installed; there are: {names}."
        )
    return _load(offered[name])


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
