"""Several things at a time, but not too many; the first failure is the failure of all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

GRACE_SECONDS = 5.0
"""How long what is under way may go on after a failure. A picture that has nearly come is worth
the wait: the next try need not fetch it again."""


async def gather_bounded(
    works: Sequence[Callable[[], Awaitable[T]]],
    at_a_time: int,
    *,
    grace_seconds: float = GRACE_SECONDS,
) -> list[T]:
    """Return what all works return, in their order.

    When one fails no other is begun; those under way may come to their end for a while.

    Args:
        works: each is called once, in this order.
        at_a_time: how many of them.
        grace_seconds: for those that are under way when one fails.

    Raises:
        Exception: the one that came first.
    """
    found: dict[int, T] = {}
    failures: list[Exception] = []
    todo = iter(enumerate(works))

    async def worker() -> None:
        for place, work in todo:
            try:
                found[place] = await work()
            except Exception as error:
                failures.append(error)
                raise
            if failures:
                return

    await _run([worker() for _ in range(min(at_a_time, len(works)))], grace_seconds)
    if failures:
        raise failures[0]
    return [found[place] for place in range(len(works))]


async def _run(workers: Sequence[Awaitable[None]], grace_seconds: float) -> None:
    """Return when all have ended, as they wanted to or because there was no more time."""
    tasks = [asyncio.ensure_future(worker) for worker in workers]
    if not tasks:
        return
    try:
        _, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        if running:
            await asyncio.wait(running, timeout=grace_seconds)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the work while the block lasts, and stop it at its end."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
