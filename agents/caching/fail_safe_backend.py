"""A timeout and a circuit breaker around a shared cache backend, so that no request fails with it.

Each call has a timeout. A failed call opens the breaker; after ``open_seconds`` one trial call is
permitted, and the breaker closes when it succeeds. Calls that are not permitted are skipped.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal, Protocol, TypeVar

from agents.caching.interface import CacheBackend

T = TypeVar("T")

CallOutcome = Literal["ok", "error", "timeout", "skipped"]

VALUE_BYTES_MAX = 4 * 2**20
"""clipmill writes no larger value; one that is read is foreign, and counts as a miss."""

log = logging.getLogger(__name__)


class CallReport(Protocol):
    """Records the outcome of each call."""

    def __call__(self, operation: str, outcome: CallOutcome, /) -> None:
        """Record a call of this operation (``get``, ``set``, ``delete``)."""
        ...


class FailSafeBackend:
    """A `CacheBackend` that never raises; a failed call is a miss.

    Args:
        backend: the wrapped one.
        name: for the log.
        prefix: of all its keys.
        timeout_seconds: per call.
        open_seconds: time that the breaker stays open after a failure.
        clock: seconds.
        report: records every call.
    """

    def __init__(
        self,
        backend: CacheBackend,
        name: str,
        *,
        prefix: str = "",
        timeout_seconds: float,
        open_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        report: CallReport = lambda _operation, _outcome, /: None,
    ) -> None:
        self._backend = backend
        self._name = name
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._open_seconds = open_seconds
        self._clock = clock
        self._report = report
        self._is_open = False
        self._open_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """Return the value, None for a miss or a failed call."""
        value = await self._call("get", lambda: self._backend.get(self._prefix + key))
        is_valid = isinstance(value, bytes) and len(value) <= VALUE_BYTES_MAX
        return value if is_valid else None

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        if ttl_seconds > 0 and len(value) <= VALUE_BYTES_MAX:
            await self._call(
                "set", lambda: self._backend.set(self._prefix + key, value, ttl_seconds)
            )

    async def delete(self, key: str) -> None:
        await self._call("delete", lambda: self._backend.delete(self._prefix + key))

    async def _call(self, operation: str, call: Callable[[], Awaitable[T]]) -> T | None:
        if self._is_open and self._clock() < self._open_until:
            self._report(operation, "skipped")
            return None
        if self._is_open:
            # This is the trial call: others stay rejected until its outcome.
            self._open_until = self._clock() + self._open_seconds
        try:
            async with asyncio.timeout(self._timeout):
                result = await call()
        except Exception as error:  # noqa: BLE001  (a backend may raise anything)
            self._on_failure(operation, error)
            return None
        self._on_success(operation)
        return result

    def _on_failure(self, operation: str, error: Exception) -> None:
        self._report(operation, "timeout" if isinstance(error, TimeoutError) else "error")
        self._open_until = self._clock() + self._open_seconds
        if not self._is_open:
            # Only the class: the text may quote the URL, and with it the password.
            kind = type(error).__name__
            log.warning(
                "cache backend %s does not respond (%s); continuing without it", self._name, kind
            )
        self._is_open = True

    def _on_success(self, operation: str) -> None:
        self._report(operation, "ok")
        if self._is_open:
            log.info("cache backend %s responds again", self._name)
        self._is_open = False
