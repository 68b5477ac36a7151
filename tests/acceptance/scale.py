"""How long the long tests are: short in CI, in full with ``FULL_LENGTH=1``."""

import os

FULL = os.environ.get("FULL_LENGTH") == "1"


def in_full(full: float, short: float) -> float:
    """Return the figure of the full run, or the short one of every day."""
    return full if FULL else short
