"""Ends the process when something in it cannot be ended.

Clients of a cluster that is away wait for it when they are stopped, without a bound and without
minding that they are cancelled.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""For a client to leave the cluster. It takes 0.05 s; together with the grace of the work this is
less than the 15 s that a supervisor should wait before it kills."""

EXIT_STATUS = 1


@contextmanager
def ends_within(seconds: float, what: str) -> Iterator[None]:
    """End the process when the block is not left within this time.

    That is as safe as ``kill -9``: what was not committed is read again.
    """
    timer = threading.Timer(seconds, _end_process, (seconds, what))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_process(seconds: float, what: str) -> None:
    log.critical(
        "%s did not stop within %g s, probably because the cluster does not answer: ending the "
        "process. Nothing is lost; what was not committed is done again after the next start.",
        what,
        seconds,
    )
    os._exit(EXIT_STATUS)
