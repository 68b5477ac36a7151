"""Workers that crash repeatedly: the others continue, and nothing is lost.

Thirty kills with ``FULL_LENGTH=1``, eight otherwise. `benchmarks/silence.py` prints the figures.
"""

from pathlib import Path

from benchmarks.silence import PATTERNS, measure
from tests.acceptance.scale import full_or_short

KILLS = int(full_or_short(30, 8))
RATE = 5.0
SILENCE_SECONDS = 30.0
"""Measured 7 s on a machine where a start takes 17 s; 14 s there without static membership."""


async def test_crash_looping_worker_does_not_stop_the_results_of_the_other(
    tmp_path: Path,
) -> None:
    found = await measure(tmp_path, PATTERNS["other"], KILLS, RATE)
    print(f"\n{KILLS} kills: {found}")
    assert found.gaps[0] < SILENCE_SECONDS
    assert (found.outcomes, found.different) == (found.requests, 0)
