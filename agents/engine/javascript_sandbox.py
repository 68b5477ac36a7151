"""Starts Deno in a sandbox: ``python -m agents.engine.javascript_sandbox PARENT DENO``.

The program, on standard input, is code of a video platform's page. Deno gives it no permissions:
no files, no network, no environment, no processes. The kernel's limits hold if Deno has a hole: no
sockets, no other processes, no files but the system's libraries, bounded memory, processor time and
output, and an end with the parent.
"""

import os
import platform
import resource
import signal
import sys

from agents.confinement.landlock import restrict_files
from agents.confinement.limits import die_with_parent, forbid_core_dumps, limit_memory
from agents.confinement.seccomp import (
    ALLOW,
    REFUSE,
    Instruction,
    Syscall,
    actions,
    first_argument_zero,
    install_filter,
    prologue,
    threads_only,
)

MEMORY_BYTES_MAX = 2**30
"""Private memory. V8 reserves 512 MB of it for machine code; a player of 2 MB needs 280 MB."""

HEAP_MEGABYTES_MAX = 400

OUTPUT_BYTES_MAX = 16 * 2**20
"""Size of any file that it writes. The answer repeats the player, of 2 to 3 MB."""

PROCESSOR_SECONDS_MAX = 20
"""A player of 2 MB takes one second."""

FILES_MAX = 64

OPTIONS = (
    "--ext=js",
    "--no-code-cache",
    "--no-prompt",
    "--no-remote",
    "--no-npm",
    "--cached-only",
    "--no-lock",
    "--no-config",
    "--node-modules-dir=none",
    f"--v8-flags=--max-old-space-size={HEAP_MEGABYTES_MAX}",
)

READABLE = (
    *("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache"),
    *("/dev/null", "/dev/urandom", "/proc/self", "/sys/fs/cgroup"),
)
"""What Deno reads as it starts, beside its own file."""

ENVIRONMENT = {
    "DENO_NO_UPDATE_CHECK": "1",
    "NO_COLOR": "1",
    # Neither exists, so nothing is cached, and no settings are read.
    "DENO_DIR": "/dev/null/deno",
    "HOME": "/",
}

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


def main(parent: int, deno: str) -> None:
    """Become Deno."""
    die_with_parent(parent)
    forbid_core_dumps()
    limit_memory(MEMORY_BYTES_MAX)
    for kind, limit in (
        (resource.RLIMIT_CPU, PROCESSOR_SECONDS_MAX),
        (resource.RLIMIT_FSIZE, OUTPUT_BYTES_MAX),
        (resource.RLIMIT_NOFILE, FILES_MAX),
    ):
        resource.setrlimit(kind, (limit, limit))
    # A write beyond the limit fails, instead of a signal.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    os.chdir("/")
    if not install_filter(build_filter(platform.machine())):
        sys.exit("the sandbox is not supported: the kernel has no seccomp")
    restrict_files((os.path.realpath(deno), *READABLE))
    os.execve(deno, [deno, "run", *OPTIONS, "-"], ENVIRONMENT)  # noqa: S606 - the installed Deno


def build_filter(architecture: str) -> list[Instruction]:
    """Return the seccomp filter: no sockets, no other processes.

    Unlike that of the media process it names what is forbidden: a JavaScript engine uses many
    system calls, other ones in each release.
    """
    return [
        *prologue(architecture),
        *threads_only(architecture),
        *first_argument_zero(PRLIMIT, architecture),
        *actions(FORBIDDEN.values(), architecture, listed=REFUSE, others=ALLOW),
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
