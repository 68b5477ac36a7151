"""Shifts the wall clock of a worker by the seconds in a file, and again whenever that changes.

The interpreter imports it at its start when this folder is on ``PYTHONPATH``. The clock is patched
below the C types, so libraries see it too; monotonic clocks go on.
"""

import os
import threading
import time
from pathlib import Path

import time_machine

LOOK_SECONDS = 0.02


def _follow(path: Path) -> None:
    clock = time_machine.travel(time.time(), tick=True).start()
    applied = 0.0

    def look() -> None:
        nonlocal applied
        wanted = float(path.read_text() or applied)
        if wanted != applied:
            clock.shift(wanted - applied)
            applied = wanted

    def watch() -> None:
        while True:
            time.sleep(LOOK_SECONDS)
            look()

    def start() -> None:
        threading.Thread(target=watch, daemon=True).start()

    look()
    start()
    # Threads do not live on in a forked process.
    os.register_at_fork(after_in_child=start)


if "WALL_CLOCK_FILE" in os.environ:
    _follow(Path(os.environ["WALL_CLOCK_FILE"]))
