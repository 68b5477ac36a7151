"""Become another program that the kernel kills when the process that started it dies.

Run as a script: `launcher.py PARENT_PID PROGRAM ARGUMENT…`. A script of its own, because code
between fork and exec (`preexec_fn`) can deadlock in a parent with threads. The kernel watches the
thread that forked: the event loop's thread must live as long as the program should.
"""

import ctypes
import os
import signal
import sys

# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask the kernel for SIGKILL at the parent's death, then become the program.

    Raises:
        OSError: the kernel refused, or the program cannot be run.
        SystemExit: the parent died before the kernel was asked.
    """
    parent, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):
        sys.exit(f"process {parent}, which wanted {command[0]}, is gone")
    os.execv(command[0], command)  # noqa: S606 - the caller's own program, without a shell


if __name__ == "__main__":
    main(sys.argv[1:])
