"""Durations of long tests: short by default and in CI, full with ``FULL_LENGTH=1``."""

import os

FULL = os.environ.get("FULL_LENGTH") == "1"


def full_or_short(full: float, short: float) -> float:
    """Return the value for a full run or for a short one."""
    return full if FULL else short
