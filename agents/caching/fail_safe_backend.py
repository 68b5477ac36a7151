"""A backend that may be away or slow, so that no request ever fails or waits long for it.

Each call has its time. After one that failed the backend is left alone for a while; then a single
call tries it, and only when that one is answered do all others follow.
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
"""Larger values are not ours: they are neither written nor believed."""

log = logging.getLogger(__name__)


class CallReport(Protocol):
    """Is told what became of a call."""

    def __call__(self, operation: str, outcome: CallOutcome, /) -> None:
        """Note a call of this operation (``get``, ``set``, ``delete``)."""
        ...


class GuardedBackend:
    """A backend that answers in time: with nothing, when there is no better answer.

    Args:
        backend: the real one.
        name: for the log.
        prefix: what all its keys begin with.
        timeout_seconds: what one call may take.
        rest_seconds: how long the backend is left alone after a failure.
        clock: seconds.
        report: is told of every call.
    """

    def __init__(
        self,
        backend: CacheBackend,
        name: str,
        *,
        prefix: str = "",
        timeout_seconds: float,
        rest_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        report: CallReport = lambda _operation, _outcome, /: None,
    ) -> None:
        self._backend = backend
        self._name = name
        self._prefix = prefix
        self._timeout = timeout_seconds
        self._rest = rest_seconds
        self._clock = clock
        self._report = report
        self._failing = False
        self._resting_until = 0.0

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when there is none or nobody tells. Never raises."""
        value = await self._call("get", lambda: self._backend.get(self._prefix + key))
        is_ours = isinstance(value, bytes) and len(value) <= VALUE_BYTES_MAX
        return value if is_ours else None

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Keep a value if possible. Never raises."""
        if ttl_seconds > 0 and len(value) <= VALUE_BYTES_MAX:
            await self._call(
                "set", lambda: self._backend.set(self._prefix + key, value, ttl_seconds)
            )

    async def delete(self, key: str) -> None:
        """Forget a value if possible. Never raises."""
        await self._call("delete", lambda: self._backend.delete(self._prefix + key))

    async def _call(self, operation: str, call: Callable[[], Awaitable[T]]) -> T | None:
        if self._failing and self._clock() < self._resting_until:
            self._report(operation, "skipped")
            return None
        if self._failing:
            # Only this call tries; the others go on leaving it alone until it is answered.
            self._resting_until = self._clock() + self._rest
        try:
            async with asyncio.timeout(self._timeout):
                answer = await call()
        except Exception as error:  # noqa: BLE001  (foreign code; a cache hurts nobody)
            self._failed(operation, error)
            return None
        self._answered(operation)
        return answer

    def _failed(self, operation: str, error: Exception) -> None:
        self._report(operation, "timeout" if isinstance(error, TimeoutError) else "error")
        self._resting_until = self._clock() + self._rest
        if not self._failing:
            # Of the error only its kind: its text may quote the URL, and with it the password.
            kind = type(error).__name__
            log.warning("cache backend %s does not answer (%s), going on without", self._name, kind)
        self._failing = True

    def _answered(self, operation: str) -> None:
        self._report(operation, "ok")
        if self._failing:
            log.info("cache backend %s answers again", self._name)
        self._failing = False
