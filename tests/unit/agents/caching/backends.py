"""Cache backends for tests: one that is well, and ones that are not."""

import asyncio


class Dictionary:
    """A backend over a dictionary, which notes the lives that it was given.

    Attributes:
        away: what it raises instead of answering, if anything.
    """

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.lives: dict[str, float] = {}
        self.away: Exception | None = None
        self.calls = 0

    def _come(self) -> None:
        self.calls += 1
        if self.away is not None:
            raise self.away

    async def get(self, key: str) -> bytes | None:
        self._come()
        return self.values.get(key)

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        self._come()
        self.values[key], self.lives[key] = value, ttl_seconds

    async def delete(self, key: str) -> None:
        self._come()
        self.values.pop(key, None)


class Slow:
    """A backend that never answers."""

    async def get(self, _key: str) -> bytes | None:
        await asyncio.Event().wait()
        return b"late"

    async def set(self, _key: str, _value: bytes, _ttl_seconds: float) -> None:
        await asyncio.Event().wait()

    async def delete(self, _key: str) -> None:
        await asyncio.Event().wait()
