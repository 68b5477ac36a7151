"""A wall clock that does not jump: it was right when it was made, and is never set afterwards."""

import time
from collections.abc import Callable


def steady_clock() -> Callable[[], float]:
    """Return a clock of epoch seconds: the wall clock of this moment, monotonic from now on.

    For times that only one process compares with each other. Those that other processes or people
    read need `time.time`.
    """
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()
