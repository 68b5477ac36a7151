"""Negative cache: permanent failures of videos, for a short TTL.

A deleted video is requested again and again while its link is shared; the cache saves the repeated
requests to the platform. It has two tiers: the process, and the shared backend if there is one.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from agents.caching.interface import NULL_REPORT, CacheBackend, CacheLevel, CacheReport
from agents.caching.row_expiry import CLOCK_SKEW_SECONDS
from schemas.codec import MalformedMessageError, Moment, decode, encode
from schemas.errors import ClipmillError, ErrorCode

NAME: Final = "negative"

FINAL = frozenset(
    {
        ErrorCode.CONTENT_NOT_FOUND,
        ErrorCode.CONTENT_PRIVATE,
        ErrorCode.CONTENT_UNSUPPORTED,
        ErrorCode.CONTENT_LIVE_ENDED,
    }
)
"""Failures that do not depend on account or egress. A page without files, or without files for this
region, may differ a moment later or through another egress."""

LOGIN_REQUIRED = frozenset({ErrorCode.CONTENT_LOGIN_REQUIRED, ErrorCode.CONTENT_AGE_RESTRICTED})
"""Failures that are final only when the platform has no account."""

CACHED_SINCE = "remembered_since"
"""Error detail of a cache hit: when the platform answered (ISO 8601)."""

BoundedText = Annotated[str, Meta(max_length=4_000)]
"""Far longer than any error text; an entry with a longer one is foreign, and counts as a miss."""

DETAILS_MAX = Meta(max_length=32)


class CachedFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failure, and the epoch second at which it expires. JSON in the shared backend."""

    code: ErrorCode
    message: BoundedText
    since: Moment
    expires_at: float
    details: Annotated[dict[BoundedText, BoundedText], DETAILS_MAX] = {}

    def error(self) -> ClipmillError:
        """Return the failure, marked as a cache hit by `CACHED_SINCE`."""
        error = ClipmillError(self.code, self.message)
        error.details = {**self.details, CACHED_SINCE: self.since.isoformat()}
        return error


def is_final(code: ErrorCode, *, can_log_in: bool) -> bool:
    """Return whether a repeated request is pointless for now."""
    return code in FINAL or (code in LOGIN_REQUIRED and not can_log_in)


class NegativeCache:
    """Failures by video key.

    Args:
        ttl_seconds: 0 disables the cache.
        memory: the tier in the process.
        shared: the tier shared with other workers.
        can_log_in: whether there is an account for a platform.
        invalidated_at: when a video's entries were last invalidated.
        clock: epoch seconds.
        report: records lookups.
    """

    def __init__(
        self,
        ttl_seconds: float,
        memory: CacheBackend,
        *,
        shared: CacheBackend | None = None,
        can_log_in: Callable[[str], bool] = lambda _: False,
        invalidated_at: Callable[[str], datetime | None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        report: CacheReport = NULL_REPORT,
    ) -> None:
        self._ttl = ttl_seconds
        self._memory = memory
        self._shared = shared
        self._can_log_in = can_log_in
        self._invalidated_at = invalidated_at
        self._clock = clock
        self._report = report

    async def get(self, key: str) -> CachedFailure | None:
        """Return the valid entry of a video from the nearest tier; a shared hit fills memory."""
        if self._ttl <= 0:
            return None
        found = self._read(key, await self._memory.get(_backend_key(key)), "memory")
        if found is not None or self._shared is None:
            return found
        value = await self._shared.get(_backend_key(key))
        found = self._read(key, value, "shared")
        if found is not None and value is not None:
            await self._memory.set(_backend_key(key), value, found.expires_at - self._clock())
        return found

    async def put(self, key: str, error: ClipmillError) -> None:
        """Store a failure if it is final."""
        if self._ttl <= 0 or not self._is_final(key, error.code):
            return
        now = self._clock()
        failure = CachedFailure(
            code=error.code,
            message=error.message,
            details=error.details,
            since=datetime.fromtimestamp(now, UTC),
            expires_at=now + self._ttl,
        )
        for backend in self._backends():
            await backend.set(_backend_key(key), encode(failure), self._ttl)

    async def delete(self, key: str) -> None:
        """Delete the entry of a video after its extraction has succeeded."""
        if self._ttl > 0:
            for backend in self._backends():
                await backend.delete(_backend_key(key))

    def _backends(self) -> tuple[CacheBackend, ...]:
        return (self._memory,) if self._shared is None else (self._memory, self._shared)

    def _read(self, key: str, value: bytes | None, level: CacheLevel) -> CachedFailure | None:
        found = None if value is None else self._decode(value)
        is_valid = found is not None and self._is_valid(key, found)
        self._report.record_lookup(NAME, level, "hit" if is_valid else "miss")
        return found if is_valid else None

    def _decode(self, value: bytes) -> CachedFailure | None:
        try:
            return decode(value, CachedFailure)
        except MalformedMessageError:
            return None

    def _is_valid(self, key: str, found: CachedFailure) -> bool:
        # Upper bounds: another worker's clock, or one that was set back, must not extend the TTL.
        now = self._clock()
        invalidated_at = self._invalidated_at(key)
        return (
            now < found.expires_at <= now + self._ttl
            and found.since.timestamp() <= now + CLOCK_SKEW_SECONDS
            and self._is_final(key, found.code)
            and (invalidated_at is None or found.since >= invalidated_at)
        )

    def _is_final(self, key: str, code: ErrorCode) -> bool:
        return is_final(code, can_log_in=self._can_log_in(key.partition(":")[0]))


def _backend_key(key: str) -> str:
    return f"{NAME}:{key}"
