"""Event loop: delay of its timers, and errors that no task awaits.

A blocked loop (a long function, garbage collection, a busy machine) delays every task of the
process by as much, heartbeats to the group coordinators included.
"""

import asyncio
import logging
import time
from typing import Any

from streams.observability.metrics import LOOP_DELAY

log = logging.getLogger(__name__)

SAMPLE_SECONDS = 0.5
"""Sampling interval. A sample takes 20 us."""


_CLOSED = "the handler is closed"


async def measure_loop_delay() -> None:
    """Sample the running event loop forever."""
    delay = LOOP_DELAY.labels("main")
    while True:
        # Not loop.time(): uvloop caches it for each iteration.
        started = time.perf_counter()
        await asyncio.sleep(SAMPLE_SECONDS)
        delay.observe(max(0.0, time.perf_counter() - started - SAMPLE_SECONDS))


def handle_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log an error that no task awaits; a write to a connection that was lost is no error.

    uvloop reports a lost connection as an OSError and logs none, but as a RuntimeError when TLS
    writes once more before the loss is processed (uvloop issue 506). The owner of the connection
    learns of the loss in both cases.
    """
    error = context.get("exception")
    if isinstance(error, RuntimeError) and str(error).endswith(_CLOSED) and "protocol" in context:
        log.debug("write to a closed connection: %s", error)
    else:
        loop.default_exception_handler(context)
