"""Seccomp filter of the process that runs foreign JavaScript: no sockets, no other processes.

Unlike that of the media process it names what is forbidden: a JavaScript engine uses many system
calls, other ones in each release.
"""

from agents.confinement.seccomp import (
    ALLOW,
    REFUSE,
    Instruction,
    Syscall,
    first_argument_zero,
    prologue,
    threads_only,
    verdicts,
)

PRLIMIT = Syscall(302, 261)
"""Allowed for process 0, the calling one, whose limits libc reads by it."""

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


def build_filter(architecture: str) -> list[Instruction]:
    return [
        *prologue(architecture),
        *threads_only(architecture),
        *first_argument_zero(PRLIMIT, architecture),
        *verdicts(FORBIDDEN.values(), architecture, listed=REFUSE, others=ALLOW),
    ]
