"""`asyncio.gather` with a concurrency limit and fail-fast semantics."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")

GRACE_SECONDS = 5.0
"""Time in which calls in progress may finish after a failure: the next attempt reuses a picture
that is nearly complete."""


async def gather_bounded(
    calls: Sequence[Callable[[], Awaitable[T]]],
    limit: int,
    *,
    grace_seconds: float = GRACE_SECONDS,
) -> list[T]:
    """Return the results of all calls, in their order.

    After a failure no further call is started; calls in progress are cancelled after a grace
    period.

    Args:
        calls: each is called once, in this order.
        limit: maximum concurrency.
        grace_seconds: grace period of calls in progress after a failure.

    Raises:
        Exception: the first failure.
    """
    if not calls:
        return []
    results: dict[int, T] = {}
    failures: list[Exception] = []
    pending = iter(enumerate(calls))

    async def worker() -> None:
        for index, call in pending:
            try:
                results[index] = await call()
            except Exception as error:
                failures.append(error)
                raise
            if failures:
                return

    workers = [asyncio.create_task(worker()) for _ in range(min(limit, len(calls)))]
    try:
        _, unfinished = await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
        if unfinished:
            await asyncio.wait(unfinished, timeout=grace_seconds)
    finally:
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]
