"""Seccomp filter of the media process: only the system calls that reading open files needs.

It allows the calls in `ALLOWED` and rejects all others. Code that takes over the process can open,
change or remove no file, create no socket and no process, and reach no other process.
"""

import platform

from agents.confinement.seccomp import (
    ALLOW,
    ARCHITECTURES,
    REFUSE,
    Instruction,
    Syscall,
    actions,
    install_filter,
    prologue,
    threads_only,
)

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


def confine() -> bool:
    """Install the filter for this thread and its future threads, irrevocably.

    Returns:
        Whether it is installed: not on other architectures, or without seccomp.
    """
    architecture = platform.machine()
    return architecture in ARCHITECTURES and install_filter(build_filter(architecture))


def build_filter(architecture: str) -> list[Instruction]:
    return [
        *prologue(architecture),
        *threads_only(architecture),
        *actions(ALLOWED.values(), architecture, listed=ALLOW, others=REFUSE),
    ]
