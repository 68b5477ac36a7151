"""Kernel limits and signal settings of a worker process (prctl, rlimits)."""

import ctypes
import os
import resource
import signal

SPARE_BYTES = 8 * 2**20
"""Less than a job needs: a page of `page_bytes_max`, decoded and parsed."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process as soon as its parent ends, for whatever reason.

    Args:
        parent: process id of the parent, read before the fork: it may have ended since.

    Raises:
        OSError: prctl failed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)


def ignore_terminal_signals() -> None:
    """Let only the pool end this process: Ctrl-C and a unit's stop signal the whole group."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def limit_memory(limit_bytes: int) -> None:
    """Limit this process's private memory; allocations beyond it fail (MemoryError)."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def is_memory_exhausted() -> bool:
    """Return whether this process cannot allocate `SPARE_BYTES` any more."""
    try:
        bytearray(SPARE_BYTES)
    except MemoryError:
        return True
    return False


def forbid_core_dumps() -> None:
    """Keep cookies and proxy credentials out of core files."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
