"""A hard stop: exits the process when a client cannot be closed.

Clients of an unavailable cluster wait for it when they are stopped, without a timeout and without
reacting to cancellation.
"""

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

STOP_SECONDS = 8.0
"""Timeout for a client to leave the cluster. It takes 0.05 s; together with the grace period of the
work this is less than the 15 s that a supervisor should wait before SIGKILL."""

EXIT_STATUS = 1


@contextmanager
def exit_after_timeout(seconds: float, component: str) -> Iterator[None]:
    """Exit the process when the block takes longer than this.

    As safe as ``kill -9``: uncommitted records are read again.
    """
    timer = threading.Timer(seconds, _end_process, (seconds, component))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end_process(seconds: float, component: str) -> None:
    log.critical(
        "%s did not stop within %g s, probably because the cluster does not answer: ending the "
        "process. No record is lost: what was not committed is processed after the next start.",
        component,
        seconds,
    )
    os._exit(EXIT_STATUS)
