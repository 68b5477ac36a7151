"""Seccomp filter of the process that runs foreign JavaScript: no sockets, no other processes.

Unlike that of the media process it names what is forbidden: a JavaScript engine uses many system
calls, other ones in each release.
"""

import errno
from typing import NamedTuple

ALLOW = 0x7FFF0000
REFUSE = 0x00050000 | errno.EPERM
MISSING = 0x00050000 | errno.ENOSYS
KILL = 0x80000000
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # linux/bpf_common.h
NUMBER_OFFSET, MACHINE_OFFSET, FIRST_ARGUMENT_OFFSET = 0, 4, 16  # struct seccomp_data
CLONE_THREAD = 0x10000  # linux/sched.h
X32 = 0x40000000
"""Bit of the numbers of x86-64's second table, which would bypass the list."""


class Syscall(NamedTuple):
    """Numbers of a system call, None where it does not exist; sources as in the media process."""

    x86_64: int
    aarch64: int | None


FORBIDDEN = {
    "socket": Syscall(41, 198),
    "connect": Syscall(42, 203),
    "bind": Syscall(49, 200),
    "listen": Syscall(50, 201),
    "accept": Syscall(43, 202),
    "accept4": Syscall(288, 242),
    "fork": Syscall(57, None),
    "vfork": Syscall(58, None),
    "kill": Syscall(62, 129),
    "tkill": Syscall(200, 130),
    "tgkill": Syscall(234, 131),
    "rt_sigqueueinfo": Syscall(129, 138),
    "rt_tgsigqueueinfo": Syscall(297, 240),
    "pidfd_send_signal": Syscall(424, 424),
    "pidfd_open": Syscall(434, 434),
    "pidfd_getfd": Syscall(438, 438),
    "ptrace": Syscall(101, 117),
    "process_vm_readv": Syscall(310, 270),
    "process_vm_writev": Syscall(311, 271),
    "kcmp": Syscall(312, 272),
    "process_madvise": Syscall(440, 440),
    "process_mrelease": Syscall(448, 448),
    "migrate_pages": Syscall(256, 238),
    "move_pages": Syscall(279, 239),
    "setpriority": Syscall(141, 140),
    "ioprio_set": Syscall(251, 30),
    "sched_setaffinity": Syscall(203, 122),
    "sched_setattr": Syscall(314, 274),
    "sched_setparam": Syscall(142, 118),
    "sched_setscheduler": Syscall(144, 119),
    "mq_open": Syscall(240, 180),
    "mq_unlink": Syscall(241, 181),
    "msgget": Syscall(68, 186),
    "msgctl": Syscall(71, 187),
    "msgrcv": Syscall(70, 188),
    "msgsnd": Syscall(69, 189),
    "semget": Syscall(64, 190),
    "semctl": Syscall(66, 191),
    "semtimedop": Syscall(220, 192),
    "semop": Syscall(65, 193),
    "shmget": Syscall(29, 194),
    "shmctl": Syscall(31, 195),
    "shmat": Syscall(30, 196),
    "chmod": Syscall(90, None),
    "fchmod": Syscall(91, 52),
    "fchmodat": Syscall(268, 53),
    "fchmodat2": Syscall(452, 452),
    "chown": Syscall(92, None),
    "lchown": Syscall(94, None),
    "fchown": Syscall(93, 55),
    "fchownat": Syscall(260, 54),
    "utime": Syscall(132, None),
    "utimes": Syscall(235, None),
    "futimesat": Syscall(261, None),
    "utimensat": Syscall(280, 88),
    "setxattr": Syscall(188, 5),
    "lsetxattr": Syscall(189, 6),
    "fsetxattr": Syscall(190, 7),
    "setxattrat": Syscall(463, 463),
    "removexattr": Syscall(197, 14),
    "lremovexattr": Syscall(198, 15),
    "fremovexattr": Syscall(199, 16),
    "removexattrat": Syscall(466, 466),
    "file_setattr": Syscall(469, 469),
    "io_uring_setup": Syscall(425, 425),
    "io_uring_enter": Syscall(426, 426),
    "io_uring_register": Syscall(427, 427),
    "bpf": Syscall(321, 280),
    "perf_event_open": Syscall(298, 241),
    "userfaultfd": Syscall(323, 282),
    "add_key": Syscall(248, 217),
    "request_key": Syscall(249, 218),
    "keyctl": Syscall(250, 219),
    "unshare": Syscall(272, 97),
    "setns": Syscall(308, 268),
    "mount": Syscall(165, 40),
}
"""Calls that reach the network or another process, that change what Landlock does not protect of
files, and interfaces of the kernel with a history of holes. `socketpair` stays: it connects two
ends in the same process. Without `tgkill`, libc's ``abort`` ends by an invalid instruction."""


class Machine(NamedTuple):
    """An architecture: audit constant (linux/audit.h), and its numbers of system calls."""

    audit: int
    clone: int
    prlimit: int
    forbidden: tuple[int, ...]


CLONE3 = 435
"""Number on both; its flags are in memory, which a filter cannot read. libc falls back to clone."""

MACHINES = {
    "x86_64": Machine(0xC000003E, 56, 302, tuple(each.x86_64 for each in FORBIDDEN.values())),
    "aarch64": Machine(
        0xC00000B7, 220, 261, tuple(each.aarch64 for each in FORBIDDEN.values() if each.aarch64)
    ),
}


def build_filter(machine: Machine) -> list[tuple[int, int, int, int]]:
    """Return the BPF program: code, jumps if true and if false, operand of each instruction."""
    count = len(machine.forbidden)
    checks = [(EQUAL, count - index, 0, number) for index, number in enumerate(machine.forbidden)]
    return [
        (LOAD, 0, 0, MACHINE_OFFSET),
        (EQUAL, 1, 0, machine.audit),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_OFFSET),
        (AT_LEAST, 0, 1, X32),
        (RETURN, 0, 0, REFUSE),
        (EQUAL, 0, 1, CLONE3),
        (RETURN, 0, 0, MISSING),
        (EQUAL, 0, 4, machine.clone),
        (LOAD, 0, 0, FIRST_ARGUMENT_OFFSET),
        (ANY_BIT, 0, 1, CLONE_THREAD),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
        # Zero is the calling process, whose limits libc reads by the same call.
        (EQUAL, 0, 4, machine.prlimit),
        (LOAD, 0, 0, FIRST_ARGUMENT_OFFSET),
        (EQUAL, 0, 1, 0),
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
        *checks,
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, REFUSE),
    ]
