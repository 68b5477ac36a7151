"""Fork server: the warm, single-threaded process that worker processes are forked from.

``python -m agents.engine.forkserver DESCRIPTOR EXTRACTOR…`` serves one `agents.engine.fork_client`
at the other end of a SOCK_SEQPACKET socket. Each packet is a `COMMAND`: fork a process that owns
the connection sent along, or kill one forked before.

Not the fork server of `multiprocessing`, because that is one per program, runs the program's
``__main__`` again in every child, passes its environment on, and ends only after its last child,
so that a stuck child outlives a killed parent.
"""

import gc
import os
import select
import signal
import socket
import struct
import sys
import traceback

from agents.confinement.limits import die_with_parent, forbid_core_dumps, ignore_terminal_signals

COMMAND = struct.Struct("!cI")
"""Opcode and process id (0 for `FORK`)."""

FORK = b"f"
KILL = b"k"
PARENT_CHECK_SECONDS = 1.0

_children: set[int] = set()


def main(descriptor: int, extractors: list[str]) -> None:
    """Execute commands until the client disconnects or its process ends."""
    parent = os.getppid()
    ignore_terminal_signals()
    forbid_core_dumps()
    signal.signal(signal.SIGCHLD, _reap)
    _preload(extractors)
    with socket.socket(fileno=descriptor) as control:
        # A process forked by our parent may hold a copy of the other end, so EOF is not enough.
        while os.getppid() == parent:
            if select.select([control], [], [], PARENT_CHECK_SECONDS)[0] and not _execute(control):
                return


def _preload(extractors: list[str]) -> None:
    from agents.engine.extraction import warm_up  # noqa: PLC0415

    try:
        warm_up(extractors)
    except Exception:  # noqa: BLE001 - a job with this extractor fails with the reason
        traceback.print_exc()
    # Frozen objects are not touched by the collector, so their pages stay shared copy-on-write.
    gc.collect()
    gc.freeze()


def _execute(control: socket.socket) -> bool:
    packet, descriptors, _, _ = socket.recv_fds(control, COMMAND.size, 1)
    if len(packet) != COMMAND.size:
        return False
    opcode, pid = COMMAND.unpack(packet)
    if opcode == FORK:
        _fork(control, descriptors[0])
    elif pid in _children:
        os.kill(pid, signal.SIGKILL)
    return True


def _fork(control: socket.socket, descriptor: int) -> None:
    server = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        # The client sees its connection close, and retries.
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
    except Exception:  # noqa: BLE001 - nothing catches it above
        traceback.print_exc()
    finally:
        # Skips the server's atexit handlers and the join of busy threads.
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
    # The children end with this process: the interpreter's shutdown would delay them.
    os._exit(0)
