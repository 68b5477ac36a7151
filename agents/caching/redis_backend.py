"""Redis as the shared cache backend of all workers. Needs the extra ``clipmill[redis]``.

Bounds nothing itself: `agents.caching.fail_safe_backend.FailSafeBackend` cancels slow calls and
handles errors.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from agents.caching.fail_safe_backend import VALUE_BYTES_MAX
from agents.caching.interface import BackendSettings

CONNECTIONS_MAX = 16
"""Pool size per stage. A call takes a fraction of a millisecond, so few are in use at a time."""

PROTOCOL = 2
"""RESP2: supported by every Redis and by compatible servers."""


class RedisBackend:
    """A `CacheBackend` in Redis; keys expire on the server.

    Args:
        client: returns bytes (no ``decode_responses``).
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def get(self, key: str) -> bytes | None:
        """Return the value, None for a miss.

        Raises:
            redis.RedisError: the server is unreachable or rejects the call.
        """
        # GETRANGE bounds the transfer: a longer value is foreign, and rejected by its length.
        value = await self._client.getrange(key, 0, VALUE_BYTES_MAX)
        return value if value and isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Store a value.

        Raises:
            redis.RedisError: the server is unreachable or rejects the call.
        """
        await self._client.set(key, value, px=max(1, round(ttl_seconds * 1_000)))

    async def delete(self, key: str) -> None:
        """Delete a key.

        Raises:
            redis.RedisError: the server is unreachable or rejects the call.
        """
        await self._client.delete(key)


@asynccontextmanager
async def open_redis(settings: BackendSettings) -> AsyncIterator[RedisBackend]:
    """Open the Redis at ``redis://``, ``rediss://`` or ``unix://``; connects with the first call.

    Only the wait for a free connection has a timeout; the caller cancels a slow call, which closes
    the connection.
    """
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        settings.url or "",
        max_connections=CONNECTIONS_MAX,
        timeout=settings.timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        protocol=PROTOCOL,
    )
    client = Redis(connection_pool=pool)
    try:
        yield RedisBackend(client)
    finally:
        await client.aclose(close_connection_pool=True)
