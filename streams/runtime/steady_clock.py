"""A monotonic clock in epoch seconds: steps of the wall clock do not affect it."""

import time
from collections.abc import Callable


def steady_clock() -> Callable[[], float]:
    """Return a clock: the wall clock of this moment, monotonic from now on.

    Only for times that are compared within one process. Times that other processes or people read
    need `time.time`.
    """
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()
