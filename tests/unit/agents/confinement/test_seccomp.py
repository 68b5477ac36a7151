from collections.abc import Callable

import pytest

from agents.confinement.seccomp import (
    ARCHITECTURES,
    CLONE,
    CLONE3,
    Instruction,
    Syscall,
    actions,
    numbers_of,
)
from agents.engine import javascript_sandbox
from agents.media import confinement
from tests.unit.agents.confinement.interpreter import ALLOW, KILL, MISSING, REFUSE, action

THREAD = 0x3D0F00
"""Clone flags of libc for threads."""

FILTERS = pytest.mark.parametrize(
    "build",
    [confinement.build_filter, javascript_sandbox.build_filter],
    ids=["media", "javascript"],
)
EVERYWHERE = pytest.mark.parametrize("architecture", ARCHITECTURES)
Build = Callable[[str], list[Instruction]]


@FILTERS
@EVERYWHERE
@pytest.mark.parametrize(("flags", "answer"), [(THREAD, ALLOW), (17, REFUSE), (0x4111, REFUSE)])
def test_clone_is_allowed_for_threads_only(
    build: Build, architecture: str, flags: int, answer: int
) -> None:
    assert action(build(architecture), architecture, CLONE.on(architecture), flags) == answer


@FILTERS
@EVERYWHERE
def test_clone3_is_missing(build: Build, architecture: str) -> None:
    assert action(build(architecture), architecture, CLONE3.on(architecture)) == MISSING


@FILTERS
def test_other_calling_conventions_are_refused_or_kill_the_process(build: Build) -> None:
    program = build("x86_64")
    assert action(program, "x86_64", 0x40000000 | 41) == REFUSE
    assert action(program, "x86_64", 0x40000000) == REFUSE
    assert action(program, "x86_64", 5, audit=0x40000003) == KILL


@pytest.mark.parametrize("calls", [confinement.ALLOWED, javascript_sandbox.FORBIDDEN])
@EVERYWHERE
def test_numbers_of_calls_are_unique(calls: dict[str, Syscall], architecture: str) -> None:
    special = (CLONE, CLONE3, javascript_sandbox.PRLIMIT)
    numbers = numbers_of((*calls.values(), *special), architecture)
    missing = sum(each.on(architecture) is None for each in calls.values())
    assert len(set(numbers)) == len(calls) + len(special) - missing


@pytest.mark.parametrize("count", [0, 1, 197])
def test_actions_support_any_number_of_calls(count: int) -> None:
    calls = [Syscall(number, number) for number in range(3, 3 + count)]
    # The rules expect the number to be loaded.
    program = [(0x20, 0, 0, 0), *actions(calls, "x86_64", listed=ALLOW, others=REFUSE)]
    answers = [action(program, "x86_64", number) for number in range(300)]
    assert answers == [ALLOW if 3 <= number < 3 + count else REFUSE for number in range(300)]
