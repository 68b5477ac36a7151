"""The process that worker processes are forked from: warm, single-threaded, and nothing else.

``python -m agents.engine.forkserver DESCRIPTOR EXTRACTOR…`` serves one `agents.engine.fork_client`
at the other end of a SOCK_SEQPACKET socket. Orders are an `ORDER` record: fork a process that
owns the connection sent along, or kill one of those forked before.

Not the fork server of `multiprocessing`, because that one is a single one per program, runs the
program's ``__main__`` again in every child, hands its environment on, and ends only after the
last child did, so that a stuck child outlives a killed parent.
"""

import gc
import os
import select
import signal
import socket
import struct
import sys
import traceback

from agents.engine.limits import die_with_parent, forbid_core_dumps, ignore_terminal_signals

ORDER = struct.Struct("!cI")
"""A letter and a process id (0 for `FORK`)."""

FORK = b"f"
KILL = b"k"
PARENT_CHECK_SECONDS = 1.0

_children: set[int] = set()


def main(descriptor: int, extractors: list[str]) -> None:
    """Fork and kill as ordered until the other end hangs up or its process is gone."""
    parent = os.getppid()
    ignore_terminal_signals()
    forbid_core_dumps()
    signal.signal(signal.SIGCHLD, _reap)
    _preload(extractors)
    with socket.socket(fileno=descriptor) as control:
        # A copy of the other end may live on in a process forked by our parent.
        while os.getppid() == parent:
            if select.select([control], [], [], PARENT_CHECK_SECONDS)[0] and not _obey(control):
                return


def _preload(extractors: list[str]) -> None:
    from agents.engine.extraction import warm_up  # noqa: PLC0415

    try:
        warm_up(extractors)
    except Exception:  # noqa: BLE001 - a job that names the extractor fails with the reason
        traceback.print_exc()
    # What is never collected is never written to, and stays shared with the children.
    gc.collect()
    gc.freeze()


def _obey(control: socket.socket) -> bool:
    order, descriptors, _, _ = socket.recv_fds(control, ORDER.size, 1)
    if len(order) != ORDER.size:
        return False
    letter, pid = ORDER.unpack(order)
    if letter == FORK:
        _fork(control, descriptors[0])
    elif pid in _children:
        os.kill(pid, signal.SIGKILL)
    return True


def _fork(control: socket.socket, descriptor: int) -> None:
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        # The pool sees its connection close, and tries again.
        traceback.print_exc()
        pid = -1
    if pid == 0:
        _become_child(server, control, descriptor)
    os.close(descriptor)
    if pid > 0:
        _children.add(pid)


def _become_child(server: int, control: socket.socket, descriptor: int) -> None:
    code = 1
    try:
        die_with_parent(server)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        control.close()
        from agents.engine import worker_main  # noqa: PLC0415

        with socket.socket(fileno=descriptor) as connection:
            worker_main.serve(connection)
        code = 0
    except Exception:  # noqa: BLE001 - the last frame of a process
        traceback.print_exc()
    finally:
        # Neither the server's own clean-up nor a wait for busy threads is wanted here.
        os._exit(code)


def _reap(_number: int, _frame: object) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _children.discard(pid)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
    # The children end when this process has: the interpreter's own clean-up would delay them.
    os._exit(0)
