"""The process that looks into files: one at a time, and able to do nothing else.

``python -m agents.media.process DESCRIPTOR PARENT MEMORY`` serves one `agents.media.prober` at
the other end of a SOCK_SEQPACKET socket. Each packet to it is `LOOK` with the descriptor of an
open file; each packet from it is a message of `agents.media.facts`.

The files are hostile and their parser is C code, so the kernel holds the process to the one file:
its limit of descriptors leaves room for that file and none for a socket or another file, and where
the kernel can do so the calls that open something are refused altogether.
"""

import io
import os
import resource
import socket
import sys

from agents.engine.limits import (
    die_with_parent,
    forbid_core_dumps,
    ignore_terminal_signals,
    limit_memory,
)
from agents.media.confinement import confine
from agents.media.facts import LOOK, Ready, pack
from agents.media.reading import read_facts


def main(descriptor: int, parent: int, memory_bytes: int) -> None:
    """Look into every file that is sent until the other end hangs up."""
    die_with_parent(parent)
    ignore_terminal_signals()
    forbid_core_dumps()
    # Whatever is imported or opened on the way of a first file is so before the limits are set.
    read_facts(io.BytesIO(b"no media"))
    with socket.socket(fileno=descriptor) as connection:
        limit_memory(memory_bytes)
        limit_descriptors()
        confine()
        connection.sendall(pack(Ready()))
        while _serve(connection):
            pass


def limit_descriptors() -> None:
    """Leave room for a single descriptor more."""
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, free + 1))


def _serve(connection: socket.socket) -> bool:
    packet, descriptors, _, _ = socket.recv_fds(connection, len(LOOK), 1)
    if packet != LOOK:
        return False
    with open(descriptors[0], "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        answer = read_facts(file)
    connection.sendall(pack(answer))
    return True


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
