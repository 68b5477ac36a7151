"""What was said of videos that cannot be had, remembered for a short while.

A video that is gone is asked for again and again by people who share its link; each time the
platform would be asked what it has just answered.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from agents.caching.interface import NULL_REPORT, CacheBackend, CacheReport, Level
from agents.caching.row_expiry import CLOCKS_APART_SECONDS
from schemas.codec import MalformedMessageError, Moment, decode, encode
from schemas.errors import ClipmillError, ErrorCode

NAME = "negative"

FINAL = frozenset(
    {
        ErrorCode.CONTENT_NOT_FOUND,
        ErrorCode.CONTENT_PRIVATE,
        ErrorCode.CONTENT_UNSUPPORTED,
        ErrorCode.CONTENT_LIVE_ENDED,
    }
)
"""What holds whoever asks, from wherever. That a page has no files, or none in this region, may be
otherwise a moment later, or by another way out."""

LOGIN = frozenset({ErrorCode.CONTENT_LOGIN_REQUIRED, ErrorCode.CONTENT_AGE_RESTRICTED})
"""What is final only when there is no account to log in with."""

REMEMBERED_SINCE = "remembered_since"
"""Detail of an error that was not asked for again: when the platform said so (ISO 8601)."""


Short = Annotated[str, Meta(max_length=4_000)]
"""Far more than any text of an error. Longer ones are not ours: they are not read."""

Few = Meta(max_length=32)


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """A failure as it was, and the epoch second up to which it is believed."""

    code: ErrorCode
    message: Short
    since: Moment
    expires_at: float
    details: Annotated[dict[Short, Short], Few] = {}

    def error(self) -> ClipmillError:
        """Return the failure, saying that it was remembered."""
        error = ClipmillError(self.code, self.message)
        error.details = {**self.details, REMEMBERED_SINCE: self.since.isoformat()}
        return error


def is_final(code: ErrorCode, *, can_log_in: bool) -> bool:
    """Return whether asking again soon is of no use."""
    return code in FINAL or (code in LOGIN and not can_log_in)


class NegativeCache:
    """Failures by video key.

    Args:
        life_seconds: how long they are remembered; 0: not at all.
        memory: keeps them in the process.
        shared: what other workers know as well.
        can_log_in: tells whether there is an account for a platform.
        refreshed: tells since when what is known of a video counts.
        clock: epoch seconds.
        report: is told what happens.
    """

    def __init__(
        self,
        life_seconds: float,
        memory: CacheBackend,
        *,
        shared: CacheBackend | None = None,
        can_log_in: Callable[[str], bool] = lambda _: False,
        refreshed: Callable[[str], datetime | None] = lambda _: None,
        clock: Callable[[], float] = time.time,
        report: CacheReport = NULL_REPORT,
    ) -> None:
        self._life = life_seconds
        self._memory = memory
        self._shared = shared
        self._can_log_in = can_log_in
        self._refreshed = refreshed
        self._clock = clock
        self._report = report

    async def get(self, key: str) -> Remembered | None:
        """Return what is still believed of a video."""
        if self._life <= 0:
            return None
        found = self._read(key, await self._memory.get(_backend_key(key)), "memory")
        if found is not None or self._shared is None:
            return found
        value = await self._shared.get(_backend_key(key))
        found = self._read(key, value, "shared")
        if found is not None and value is not None:
            await self._memory.set(_backend_key(key), value, found.expires_at - self._clock())
        return found

    async def note(self, key: str, error: ClipmillError) -> None:
        """Remember a failure, if it is one that stays."""
        if self._life <= 0 or not self._is_final(key, error.code):
            return
        now = self._clock()
        remembered = Remembered(
            code=error.code,
            message=error.message,
            details=error.details,
            since=datetime.fromtimestamp(now, UTC),
            expires_at=now + self._life,
        )
        for backend in self._backends():
            await backend.set(_backend_key(key), encode(remembered), self._life)

    async def forget(self, key: str) -> None:
        """Forget the failures of a video: it was had."""
        if self._life > 0:
            for backend in self._backends():
                await backend.delete(_backend_key(key))

    def _backends(self) -> tuple[CacheBackend, ...]:
        return (self._memory,) if self._shared is None else (self._memory, self._shared)

    def _read(self, key: str, value: bytes | None, level: Level) -> Remembered | None:
        found = None if value is None else self._decode(value)
        is_believed = found is not None and self._is_believed(key, found)
        self._report.looked_up(NAME, level, "hit" if is_believed else "miss")
        return found if is_believed else None

    def _decode(self, value: bytes) -> Remembered | None:
        try:
            return decode(value, Remembered)
        except MalformedMessageError:
            return None

    def _is_believed(self, key: str, found: Remembered) -> bool:
        now = self._clock()
        refreshed = self._refreshed(key)
        return (
            now < found.expires_at <= now + self._life
            and found.since.timestamp() <= now + CLOCKS_APART_SECONDS
            and self._is_final(key, found.code)
            and (refreshed is None or found.since >= refreshed)
        )

    def _is_final(self, key: str, code: ErrorCode) -> bool:
        return is_final(code, can_log_in=self._can_log_in(key.partition(":")[0]))


def _backend_key(key: str) -> str:
    return f"{NAME}:{key}"
