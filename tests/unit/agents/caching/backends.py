"""Cache backend doubles: one that works or fails, and one that hangs."""

import asyncio


class DictBackend:
    """A backend over a dictionary that records the TTLs.

    Attributes:
        error: raised by every call, if set.
    """

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.ttls: dict[str, float] = {}
        self.error: Exception | None = None
        self.calls = 0

    def _record_call(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error

    async def get(self, key: str) -> bytes | None:
        self._record_call()
        return self.values.get(key)

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        self._record_call()
        self.values[key], self.ttls[key] = value, ttl_seconds

    async def delete(self, key: str) -> None:
        self._record_call()
        self.values.pop(key, None)


class HangingBackend:
    """A backend that never responds."""

    async def get(self, _key: str) -> bytes | None:
        await asyncio.Event().wait()
        return b"late"

    async def set(self, _key: str, _value: bytes, _ttl_seconds: float) -> None:
        await asyncio.Event().wait()

    async def delete(self, _key: str) -> None:
        await asyncio.Event().wait()
