"""Seccomp filters: BPF programs that decide on each system call of a process.

Documentation/userspace-api/seccomp_filter.rst of Linux. A filter is a prologue, then rules, which
fall through to the next one, then an action for all calls that remain.
"""

import ctypes
import errno
from collections.abc import Iterable
from typing import NamedTuple

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
_MISSING = 0x00050000 | errno.ENOSYS
_KILL = 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16  # struct seccomp_data
_PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _MODE_FILTER = 22, 38, 2
_CLONE_THREAD = 0x10000  # linux/sched.h

_X32 = 0x40000000
"""Bit of the numbers of x86-64's second table, which would bypass a list of forbidden calls."""

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Supported ones, as `platform.machine` names them, and their constants of linux/audit.h."""

Instruction = tuple[int, int, int, int]
"""Code, jumps if true and if false, operand."""


class Syscall(NamedTuple):
    """Numbers of a system call by architecture, None where it does not exist.

    From arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
    """

    x86_64: int
    aarch64: int | None

    def on(self, architecture: str) -> int | None:
        number: int | None = getattr(self, architecture)
        return number


CLONE = Syscall(56, 220)
"""Creates threads and processes."""

CLONE3 = Syscall(435, 435)
"""Does the same, with its flags in memory, which a filter cannot read: fails with ENOSYS, on which
libc falls back to `CLONE`."""


def numbers_of(calls: Iterable[Syscall], architecture: str) -> list[int]:
    """Return the numbers of those of the calls that the architecture has."""
    numbers = (each.on(architecture) for each in calls)
    return [each for each in numbers if each is not None]


def prologue(architecture: str) -> list[Instruction]:
    """Kill the process on a call of another architecture; refuse those of the second table."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        (_EQUAL, 1, 0, ARCHITECTURES[architecture]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_AT_LEAST, 0, 1, _X32),
        (_RETURN, 0, 0, REFUSE),
    ]


def threads_only(architecture: str) -> list[Instruction]:
    """Allow new threads, refuse new processes."""
    return [
        *_rule(CLONE3, architecture, [(_RETURN, 0, 0, _MISSING)]),
        *_rule(
            CLONE,
            architecture,
            [
                (_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET),
                (_ANY_BIT, 0, 1, _CLONE_THREAD),
                (_RETURN, 0, 0, ALLOW),
                (_RETURN, 0, 0, REFUSE),
            ],
        ),
    ]


def first_argument_zero(call: Syscall, architecture: str) -> list[Instruction]:
    """Allow a call whose first argument is 0, refuse others."""
    return _rule(
        call,
        architecture,
        [
            (_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET),
            (_EQUAL, 0, 1, 0),
            (_RETURN, 0, 0, ALLOW),
            (_RETURN, 0, 0, REFUSE),
        ],
    )


def actions(
    calls: Iterable[Syscall], architecture: str, *, listed: int, others: int
) -> list[Instruction]:
    """Return one action for the calls, and another one for all that remain."""
    numbers = numbers_of(calls, architecture)
    count = len(numbers)
    checks = [(_EQUAL, count - index, 0, number) for index, number in enumerate(numbers)]
    return [*checks, (_RETURN, 0, 0, others), (_RETURN, 0, 0, listed)]


def install_filter(program: list[Instruction]) -> bool:
    """Install a filter for this thread and its future threads and programs, irrevocably.

    Returns:
        Whether it is installed: not without seccomp.
    """
    instructions = (_SockFilter * len(program))(*[_SockFilter(*each) for each in program])
    filter_ = _SockFprog(len(program), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")
    installed: int = libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0)
    return installed == 0


def _rule(call: Syscall, architecture: str, steps: list[Instruction]) -> list[Instruction]:
    """Return steps for one call, which other calls skip."""
    number = call.on(architecture)
    return [] if number is None else [(_EQUAL, 0, len(steps), number), *steps]


class _SockFilter(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("when_true", ctypes.c_uint8),
        ("when_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _SockFprog(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(_SockFilter)))
