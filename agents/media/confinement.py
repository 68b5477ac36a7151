"""Takes from this process what nobody needs to look into a file that is open already.

By a filter of system calls (seccomp, Documentation/userspace-api/seccomp_filter.rst of Linux):
no file can be opened, no socket made, no program started, whatever takes over the process.
"""

import ctypes
import errno
import platform

import msgspec

_PR_SET_SECCOMP = 22
_PR_SET_NO_NEW_PRIVS = 38
_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_REFUSE = 0x00050000 | errno.EPERM
_KILL = 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06  # linux/bpf_common.h
_NUMBER_OFFSET, _MACHINE_OFFSET = 0, 4  # struct seccomp_data
_OTHER_CONVENTION = 0x40000000
"""System calls from here on are those of x32, under other numbers."""


class Machine(msgspec.Struct, frozen=True):
    """A kind of processor: its name in the kernel (linux/audit.h), and its refused calls."""

    audit: int
    refused: tuple[int, ...]


MACHINES = {
    # open, socket, connect, socketpair, fork, vfork, execve, ptrace, creat, openat, io_uring_setup,
    # openat2, execveat; arch/x86/entry/syscalls/syscall_64.tbl
    "x86_64": Machine(0xC000003E, (2, 41, 42, 53, 57, 58, 59, 101, 85, 257, 425, 437, 322)),
    # openat, ptrace, socket, socketpair, connect, execve, execveat, io_uring_setup, openat2;
    # include/uapi/asm-generic/unistd.h
    "aarch64": Machine(0xC00000B7, (56, 117, 198, 199, 203, 221, 281, 425, 437)),
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
    """Refuse the calls from now on, in this thread and in those that it starts.

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
    count = len(machine.refused)
    checks = [(_EQUAL, count - place, 0, number) for place, number in enumerate(machine.refused)]
    return [
        (_LOAD, 0, 0, _MACHINE_OFFSET),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
        (_AT_LEAST, count + 1, 0, _OTHER_CONVENTION),
        *checks,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
