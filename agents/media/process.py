"""The process that reads and remuxes media: one task at a time, and able to do nothing else.

``python -m agents.media.process DESCRIPTOR PARENT MEMORY FILES`` serves one
`agents.media.client.MediaProcess` at the other end of a SOCK_SEQPACKET socket. Each packet to it
is a `Task` with the descriptors of open files; each packet from it is a message of
`agents.media.facts`.

The files are hostile and their parser is C code, so the kernel holds the process to the files of
its task: its limit of descriptors leaves room for those (FILES at most) and none for a socket or
another file, and where the kernel can do so the calls that open something are refused altogether.
"""

import os
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from typing import Any

from agents.engine.limits import (
    die_with_parent,
    forbid_core_dumps,
    ignore_terminal_signals,
    limit_memory,
)
from agents.media.confinement import confine
from agents.media.facts import FILES_MAX, JOIN, LOOK, TAKE_SOUND, TASK_BYTES_MAX, Ready, pack
from agents.media.reading import read_facts
from agents.media.remuxing import join, take_sound

TASKS: dict[bytes, tuple[Callable[..., Any], tuple[str, ...]]] = {
    LOOK: (read_facts, ("rb",)),
    TAKE_SOUND: (take_sound, ("rb", "r+b")),
    JOIN: (join, ("rb", "rb", "r+b")),
}
"""What does a task, and how it has its files."""


def main(descriptor: int, parent: int, memory_bytes: int, files: int) -> None:
    """Do every task that is sent until the other end hangs up."""
    die_with_parent(parent)
    ignore_terminal_signals()
    forbid_core_dumps()
    # Whatever is imported or opened on the way of a first file is so before the limits are set.
    read_facts(BytesIO(b"no media"))
    with socket.socket(fileno=descriptor) as connection:
        limit_memory(memory_bytes)
        limit_descriptors(files)
        confine()
        connection.sendall(pack(Ready()))
        while _serve(connection):
            pass


def limit_descriptors(count: int) -> None:
    """Leave room for so many descriptors more."""
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, free + count))


def _serve(connection: socket.socket) -> bool:
    packet, descriptors, _, _ = socket.recv_fds(connection, TASK_BYTES_MAX, FILES_MAX)
    if packet not in TASKS:
        return False
    work, modes = TASKS[packet]
    with ExitStack() as stack:
        files = [
            stack.enter_context(open(each, mode, buffering=0))  # noqa: PTH123 - a descriptor
            for each, mode in zip(descriptors, modes, strict=True)
        ]
        answer = work(*files)
    connection.sendall(pack(answer))
    return True


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
