"""`asyncio.gather` with a concurrency limit and fail-fast semantics; and background tasks."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

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

    await _run([worker() for _ in range(min(limit, len(calls)))], grace_seconds)
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]


async def _run(workers: Sequence[Awaitable[None]], grace_seconds: float) -> None:
    """Wait for all workers; cancel the others `grace_seconds` after the first failure."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    if not tasks:
        return
    try:
        _, unfinished = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if unfinished:
            await asyncio.wait(unfinished, timeout=grace_seconds)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def background_task(coroutine: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine for the duration of the block, and cancel it at the end."""
    task = asyncio.create_task(coroutine)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
