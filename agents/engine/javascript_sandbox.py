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
from agents.confinement.seccomp import install_filter
from agents.engine.javascript_filter import build_filter
from agents.engine.limits import die_with_parent, forbid_core_dumps, limit_memory

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


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
