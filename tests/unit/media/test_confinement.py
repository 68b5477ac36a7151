import platform
import subprocess
import sys

import pytest

from agents.media.confinement import MACHINES, Machine, confine, program

TRY = """
import os, socket, subprocess, sys, threading
from agents.media.confinement import confine
assert confine()
try:
    {what}
except PermissionError:
    print("refused")
else:
    print("done")
"""


def outcome(what: str) -> str:
    child = subprocess.run(
        [sys.executable, "-c", TRY.format(what=what)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=30,
    )
    return child.stdout.strip()


@pytest.mark.parametrize(
    "what",
    [
        "open('/etc/hostname')",
        "os.open('/tmp', os.O_RDONLY)",
        "socket.socket()",
        "socket.socketpair()",
        "socket.socket(socket.AF_UNIX)",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'])",
    ],
)
def test_what_opens_something_is_refused(what: str) -> None:
    assert outcome(what) == "refused"


@pytest.mark.parametrize(
    "what",
    ["bytearray(10_000_000)", "os.read(os.pipe()[0], 0)", "sys.stderr.write('x')", "os.dup(1)"],
)
def test_what_is_needed_is_not(what: str) -> None:
    assert outcome(what) == "done"


def run(steps: list[tuple[int, int, int, int]], audit: int, number: int) -> int:
    """What the filter says about a call: an interpreter of the four instructions in it."""
    held, place = 0, 0
    while True:
        code, when_true, when_false, operand = steps[place]
        place += 1
        match code:
            case 0x20:
                held = {0: number, 4: audit}[operand]
            case 0x15:
                place += when_true if held == operand else when_false
            case 0x35:
                place += when_true if held >= operand else when_false
            case _:
                return operand


@pytest.mark.parametrize("name", MACHINES)
def test_exactly_the_listed_calls_are_refused(name: str) -> None:
    machine = MACHINES[name]
    steps = program(machine)
    allowed = {number for number in range(500) if run(steps, machine.audit, number) == 0x7FFF0000}
    assert set(range(500)) - allowed == set(machine.refused)


def test_other_conventions_of_calling_are_refused_or_end_the_process() -> None:
    machine = MACHINES["x86_64"]
    steps = program(machine)
    assert run(steps, machine.audit, 0x40000000) == 0x00050001
    assert run(steps, 0x40000003, 5) == 0x80000000


def test_an_unknown_machine_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    assert not confine()


def test_a_machine_may_have_any_number_of_refused_calls() -> None:
    assert run(program(Machine(7, ())), 7, 1) == 0x7FFF0000
