"""Seccomp sandbox of the media process: only the system calls that reading open files needs.

A filter (Documentation/userspace-api/seccomp_filter.rst of Linux) allows the calls in `ALLOWED` and
rejects all others. Code that takes over the process can open, change or remove no file, create no
socket and no process, and reach no other process.
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


class Syscall(NamedTuple):
    """Numbers of a system call.

    From arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux.
    """

    x86_64: int
    aarch64: int


ALLOWED = {
    "read": Syscall(0, 63),
    "write": Syscall(1, 64),
    "writev": Syscall(20, 66),
    "close": Syscall(3, 57),
    "lseek": Syscall(8, 62),
    "fstat": Syscall(5, 80),
    "recvmsg": Syscall(47, 212),
    "sendto": Syscall(44, 206),
    "mmap": Syscall(9, 222),
    "munmap": Syscall(11, 215),
    "mremap": Syscall(25, 216),
    "mprotect": Syscall(10, 226),
    "madvise": Syscall(28, 233),
    "brk": Syscall(12, 214),
    "futex": Syscall(202, 98),
    "set_robust_list": Syscall(273, 99),
    "rseq": Syscall(334, 293),
    "sched_yield": Syscall(24, 124),
    "sched_getaffinity": Syscall(204, 123),
    "gettid": Syscall(186, 178),
    "getpid": Syscall(39, 172),
    "rt_sigaction": Syscall(13, 134),
    "rt_sigprocmask": Syscall(14, 135),
    "rt_sigreturn": Syscall(15, 139),
    "sigaltstack": Syscall(131, 132),
    "restart_syscall": Syscall(219, 128),
    "clock_gettime": Syscall(228, 113),
    "getrandom": Syscall(318, 278),
    "sysinfo": Syscall(99, 179),
    "exit": Syscall(60, 93),
    "exit_group": Syscall(231, 94),
}
"""Calls of the interpreter, of libc's allocator and threads, and of FFmpeg on open files.

``fstat`` takes a descriptor only; ``newfstatat``, which can do the same, also takes paths, and the
interpreter works without it.
"""

CLONE = Syscall(56, 220)
"""Creates threads and processes: allowed for threads only."""

CLONE3 = Syscall(435, 435)
"""Does the same, with its flags in memory, which a filter cannot read: fails with ENOSYS, on which
libc falls back to `CLONE`."""


class Machine(msgspec.Struct, frozen=True):
    """An architecture: its audit constant (linux/audit.h), and its numbers of system calls."""

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
    """Install the filter for this thread and its future threads, irrevocably.

    Returns:
        Whether it is installed: not on machines outside `MACHINES`, or without seccomp.
    """
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    return install_filter(build_filter(machine))


def install_filter(steps: list[tuple[int, int, int, int]]) -> bool:
    """Install a BPF program for this thread and its future threads, irrevocably.

    Args:
        steps: code, jumps if true and if false, operand of each instruction.

    Returns:
        Whether it is installed: not without seccomp.
    """
    instructions = (_Instruction * len(steps))(*[_Instruction(*step) for step in steps])
    filter_ = _Program(len(steps), instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_NO_NEW_PRIVS) failed")
    filtered: int = libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_), 0, 0)
    return filtered == 0


def build_filter(machine: Machine) -> list[tuple[int, int, int, int]]:
    """Return the BPF program: code, jumps if true and if false, operand of each instruction."""
    count = len(machine.allowed)
    checks = [(_EQUAL, count - index, 0, number) for index, number in enumerate(machine.allowed)]
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
