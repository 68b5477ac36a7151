"""Takes from this process what nobody needs to look into a file that is open already.

By a filter of system calls (seccomp, Documentation/userspace-api/seccomp_filter.rst of Linux) that
lets pass what stands in `ALLOWED`, and nothing else, whatever takes over the process: it can open,
change or remove no file, make no socket and no process, and reach no process that is there.
"""

import ctypes
import errno
import platform
from typing import NamedTuple

import msgspec

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_MISSING = 0x00050000 | errno.ENOSYS
_KILL = 0x80000000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # linux/bpf_common.h
_NUMBER_OFFSET, _MACHINE_OFFSET, _FIRST_ARGUMENT_OFFSET = 0, 4, 16  # struct seccomp_data
_CLONE_THREAD = 0x10000  # linux/sched.h


class Call(NamedTuple):
    """The numbers of a system call.

    From arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
    """

    x86_64: int
    aarch64: int


ALLOWED = {
    "read": Call(0, 63),
    "write": Call(1, 64),
    "writev": Call(20, 66),
    "close": Call(3, 57),
    "lseek": Call(8, 62),
    "fstat": Call(5, 80),
    "recvmsg": Call(47, 212),
    "sendto": Call(44, 206),
    "mmap": Call(9, 222),
    "munmap": Call(11, 215),
    "mremap": Call(25, 216),
    "mprotect": Call(10, 226),
    "madvise": Call(28, 233),
    "brk": Call(12, 214),
    "futex": Call(202, 98),
    "set_robust_list": Call(273, 99),
    "rseq": Call(334, 293),
    "sched_yield": Call(24, 124),
    "sched_getaffinity": Call(204, 123),
    "gettid": Call(186, 178),
    "getpid": Call(39, 172),
    "rt_sigaction": Call(13, 134),
    "rt_sigprocmask": Call(14, 135),
    "rt_sigreturn": Call(15, 139),
    "sigaltstack": Call(131, 132),
    "restart_syscall": Call(219, 128),
    "clock_gettime": Call(228, 113),
    "getrandom": Call(318, 278),
    "sysinfo": Call(99, 179),
    "exit": Call(60, 93),
    "exit_group": Call(231, 94),
}
"""What the interpreter, libc's memory and threads, and FFmpeg need to read what is open.

``fstat`` is there for its descriptor; ``newfstatat``, which can do the same, takes paths too. The
interpreter does without.
"""

CLONE = Call(56, 220)
"""Starts threads, and processes: let pass for threads only."""

CLONE3 = Call(435, 435)
"""Does the same. What it is to start stands in memory, where no filter sees it, so it is said to be
missing: libc then takes `CLONE`."""


class Machine(msgspec.Struct, frozen=True):
    """A kind of processor: its name in the kernel (linux/audit.h), and numbers of calls there."""

    audit: int
    clone: int
    clone3: int
    allowed: tuple[int, ...]


MACHINES = {
    "x86_64": Machine(
        0xC000003E, CLONE.x86_64, CLONE3.x86_64, tuple(call.x86_64 for call in ALLOWED.values())
    ),
    "aarch64": Machine(
        0xC00000B7, CLONE.aarch64, CLONE3.aarch64, tuple(call.aarch64 for call in ALLOWED.values())
    ),
}


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("when_true", ctypes.c_uint8),
        ("when_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(_Instruction)))


def confine() -> bool:
    """Refuse all other calls from now on, in this thread and in those that it starts.

    Returns:
        Whether the kernel does so; it does not on machines that are not in `MACHINES`.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    steps = program(machine)
    instructions = (_Instruction * len(steps))(*[_Instruction(*step) for step in steps])
    filter_ = _Program(len(steps), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")
    filtered: int = libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0)
    return filtered == 0


def program(machine: Machine) -> list[tuple[int, int, int, int]]:
    """Return the filter: code, steps skipped when true and when false, operand."""
    count = len(machine.allowed)
    checks = [(_EQUAL, count - place, 0, number) for place, number in enumerate(machine.allowed)]
    return [
        (_LOAD, 0, 0, _MACHINE_OFFSET),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_EQUAL, 0, 1, machine.clone3),
        (_RETURN, 0, 0, _MISSING),
        (_EQUAL, 0, 4, machine.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_OFFSET),
        (_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
        *checks,
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
