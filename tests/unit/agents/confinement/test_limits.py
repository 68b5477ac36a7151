"""Limits cannot be lifted again, so each is set in a process of its own."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

PARENT = """
import os, sys, time
from agents.confinement.limits import die_with_parent
parent = os.getpid()
if os.fork() == 0:
    {before}
    die_with_parent({parent})
    print(os.getpid(), flush=True)
    time.sleep(60)
    os._exit(0)
time.sleep(60)
"""
SIGNALS = """
import os, signal, sys, time
from agents.confinement.limits import ignore_terminal_signals
ignore_terminal_signals()
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    os.kill(os.getpid(), number)
print("alive")
"""
MEMORY = """
from agents.confinement.limits import limit_memory
limit_memory({limit})
try:
    bytearray({wanted})
except MemoryError:
    print("refused")
else:
    print("given")
"""
EXHAUSTED = """
from agents.confinement.limits import SPARE_BYTES, is_memory_exhausted, limit_memory
print(is_memory_exhausted())
limit_memory(256 * 2**20)
taken = []
try:
    while True:
        taken.append(bytearray(SPARE_BYTES))
except MemoryError:
    print(is_memory_exhausted())
taken.clear()
print(is_memory_exhausted())
"""
CORE = """
import resource
from agents.confinement.limits import forbid_core_dumps
forbid_core_dumps()
print(resource.getrlimit(resource.RLIMIT_CORE))
"""
MIB = 1024 * 1024


def output_of(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


def ends_within(pid: int, seconds: float) -> bool:
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


def test_child_ends_with_its_killed_parent() -> None:
    program = PARENT.format(before="pass", parent="parent")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert psutil.pid_exists(child)
        os.kill(parent.pid, signal.SIGKILL)
        assert ends_within(child, 2)


def test_child_of_a_dead_parent_ends_at_once() -> None:
    program = PARENT.format(before="pass", parent="parent + 1")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        time.sleep(0.5)
        parent.kill()
        assert parent.stdout.read() == b""


def test_terminal_signals_are_ignored() -> None:
    assert output_of(SIGNALS) == "alive"


@pytest.mark.parametrize(
    ("limit", "wanted", "expected"),
    [(256 * MIB, 300 * MIB, "refused"), (256 * MIB, 50 * MIB, "given")],
)
def test_memory_limit_applies(limit: int, wanted: int, expected: str) -> None:
    assert output_of(MEMORY.format(limit=limit, wanted=wanted)) == expected


def test_core_dumps_are_disabled() -> None:
    assert output_of(CORE) == "(0, 0)"


def test_memory_is_exhausted_until_some_is_freed() -> None:
    assert output_of(EXHAUSTED).split() == ["False", "True", "False"]
