"""What ends a process that cannot be stopped."""

import subprocess
import sys
import time

from streams.cluster.shutdown import EXIT_STATUS, ends_within

STUCK = """
import logging, time
from streams.cluster.shutdown import ends_within
logging.basicConfig()
with ends_within(0.2, "the toy"):
    time.sleep(60)
"""


def test_a_block_that_ends_in_time_is_left_alone() -> None:
    with ends_within(0.05, "the toy"):
        pass
    time.sleep(0.1)


def test_a_block_that_does_not_end_ends_the_process_and_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == EXIT_STATUS
    assert "the toy did not stop within 0.2 s" in done.stderr
    assert "Nothing is lost" in done.stderr
