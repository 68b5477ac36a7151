"""Event-loop delay: lateness of timers of the event loop.

A blocked loop (a long function, garbage collection, a busy machine) delays every task of the
process by as much, heartbeats to the group coordinators included.
"""

import asyncio
import time

from streams.observability.metrics import LOOP_DELAY

SAMPLE_SECONDS = 0.5
"""Sampling interval. A sample takes 20 us."""


async def measure_loop_delay() -> None:
    """Sample the running event loop for ever."""
    delay = LOOP_DELAY.labels("main")
    while True:
        # Not loop.time(): uvloop caches it for each iteration.
        started = time.perf_counter()
        await asyncio.sleep(SAMPLE_SECONDS)
        delay.observe(max(0.0, time.perf_counter() - started - SAMPLE_SECONDS))
