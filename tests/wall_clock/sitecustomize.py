"""Shifts a worker's wall clock by the seconds in a file, and again whenever they change.

The interpreter imports this module at start when its folder is on ``PYTHONPATH``. The clock is
patched below the C types, so libraries see it too; monotonic clocks are unaffected.
"""

import os
import threading
import time
from pathlib import Path

import time_machine

POLL_SECONDS = 0.02


def _follow(path: Path) -> None:
    clock = time_machine.travel(time.time(), tick=True).start()
    applied = 0.0

    def apply() -> None:
        nonlocal applied
        wanted = float(path.read_text() or applied)
        if wanted != applied:
            clock.shift(wanted - applied)
            applied = wanted

    def poll() -> None:
        while True:
            time.sleep(POLL_SECONDS)
            apply()

    def start() -> None:
        threading.Thread(target=poll, daemon=True).start()

    apply()
    start()
    # Threads do not survive a fork.
    os.register_at_fork(after_in_child=start)


if "WALL_CLOCK_FILE" in os.environ:
    _follow(Path(os.environ["WALL_CLOCK_FILE"]))
