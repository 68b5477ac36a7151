"""Exec wrapper that binds a program to the life of its parent (PR_SET_PDEATHSIG).

Run as a script: `launcher.py PARENT_PID PROGRAM ARGUMENT…`. A separate script, because code
between fork and exec (`preexec_fn`) can deadlock in a parent with threads. The kernel signals when
the forking *thread* exits: the event loop's thread must live as long as the program.
"""

import ctypes
import os
import signal
import sys

# linux/prctl.h
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Request SIGKILL on the parent's death, then exec the program.

    Raises:
        OSError: prctl failed, or the program cannot be executed.
        SystemExit: the parent died before prctl.
    """
    parent, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(parent):
        sys.exit(f"process {parent}, the parent of {command[0]}, has exited")
    os.execv(command[0], command)  # noqa: S606 - the caller's own program, without a shell


if __name__ == "__main__":
    main(sys.argv[1:])
