"""Redis as a cache backend, shared by several workers. Needs the extra ``clipmill[redis]``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from agents.caching.fail_safe_backend import VALUE_BYTES_MAX
from agents.caching.interface import BackendSettings

CONNECTIONS_MAX = 16
"""Of one stage. A call takes a fraction of a millisecond, so few are ever needed at a time."""

PROTOCOL = 2
"""RESP2: spoken by every Redis and by what calls itself compatible."""


class RedisBackend:
    """Values in Redis, each with its time to live.

    Args:
        client: to a server; answers are bytes.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def get(self, key: str) -> bytes | None:
        """Return the value, None when there is none.

        Raises:
            redis.RedisError: the server is away or refuses.
        """
        # The server cuts off what is too long to be ours before it is sent.
        value = await self._client.getrange(key, 0, VALUE_BYTES_MAX)
        return value if value and isinstance(value, bytes) else None

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None:
        """Keep a value.

        Raises:
            redis.RedisError: the server is away or refuses.
        """
        await self._client.set(key, value, px=max(1, round(ttl_seconds * 1_000)))

    async def delete(self, key: str) -> None:
        """Forget a value.

        Raises:
            redis.RedisError: the server is away or refuses.
        """
        await self._client.delete(key)


@asynccontextmanager
async def open_redis(settings: BackendSettings) -> AsyncIterator[RedisBackend]:
    """Open the Redis at ``redis://``, ``rediss://`` or ``unix://``. Nothing is dialled yet.

    A call is as slow as the server: who calls cuts it off. The connection is given up then.
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
