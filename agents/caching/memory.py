"""A cache backend in the process: what is kept beside, or instead of, a shared one."""

from agents.caching.ttl_lru import BoundedCache


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
