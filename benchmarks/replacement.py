"""Time from the kill of an engine process until its replacement is ready."""

import asyncio
import os
import signal
import statistics
import time

from agents.engine.pool import EnginePool
from agents.extraction.engine import engine_settings
from agents.network.egress import Egress
from agents.platforms.tiktok.handler import EXTRACTOR
from streams.settings import load_settings

TIMES = 20
POLL_SECONDS = 0.0005


async def replacement_line() -> str:
    """Kill engine processes one after the other; return a line with the times."""
    async with EnginePool(engine_settings(load_settings(), preload=(EXTRACTOR,)), Egress()) as pool:
        times = sorted([await _replacement_seconds(pool) for _ in range(TIMES)])
    middle, last = statistics.median(times) * 1e3, times[-1] * 1e3
    return f"a killed process is replaced after {middle:.0f} ms (median), {last:.0f} ms (longest)"


async def _replacement_seconds(pool: EnginePool) -> float:
    victim = pool.stats().pids[0]
    started = time.perf_counter()
    os.kill(victim, signal.SIGKILL)
    while victim in pool.stats().pids or not _is_complete(pool):  # noqa: ASYNC110 - no event reports it
        await asyncio.sleep(POLL_SECONDS)
    return time.perf_counter() - started


def _is_complete(pool: EnginePool) -> bool:
    stats = pool.stats()
    return stats.processes_alive == stats.processes_wanted
