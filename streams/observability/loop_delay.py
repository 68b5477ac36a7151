"""Event-loop delay: lateness of timers, per thread with an event loop.

A blocked loop (a long function, garbage collection, a busy machine) delays every task of its thread
by as much.
"""

import asyncio
import time

from streams.observability.metrics import LOOP_DELAY

SAMPLE_SECONDS = 0.5
"""Sampling interval. A sample takes 20 us, and a process with all stages has ten loops."""


async def measure_loop_delay(thread: str) -> None:
    """Sample the running event loop for ever.

    Args:
        thread: label of the loop: ``main``, or ``consumer-<stage>``.
    """
    delay = LOOP_DELAY.labels(thread)
    while True:
        # Not loop.time(): uvloop caches it for each iteration.
        started = time.perf_counter()
        await asyncio.sleep(SAMPLE_SECONDS)
        delay.observe(max(0.0, time.perf_counter() - started - SAMPLE_SECONDS))
