"""Waiting for the state of other processes."""

import asyncio
from collections.abc import Callable, Iterable

import psutil

POLL_SECONDS = 0.005


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it does not hold in time.
    """
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - no event tells what other processes do
            await asyncio.sleep(POLL_SECONDS)


def alive(pids: Iterable[int]) -> list[int]:
    """Return the pids that run. A zombie, not yet reaped by its parent, does not count."""
    return [pid for pid in pids if _runs(pid)]


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
