"""Forced exit of a process that does not stop."""

import subprocess
import sys
import time

from streams.cluster.shutdown import EXIT_STATUS, exit_after_timeout

HANGING_PROGRAM = """
import logging, time
from streams.cluster.shutdown import exit_after_timeout
logging.basicConfig()
with exit_after_timeout(0.2, "the toy"):
    time.sleep(60)
"""


def test_block_that_ends_in_time_does_not_exit() -> None:
    with exit_after_timeout(0.05, "the toy"):
        pass
    time.sleep(0.1)


def test_block_beyond_the_timeout_exits_the_process_with_a_message() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGING_PROGRAM],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == EXIT_STATUS
    assert "the toy did not stop within 0.2 s" in done.stderr
    assert "No record is lost" in done.stderr
