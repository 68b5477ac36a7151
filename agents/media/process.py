"""Sandboxed process that probes and remuxes media, one task at a time.

``python -m agents.media.process DESCRIPTOR PARENT MEMORY FILES`` serves one
`agents.media.client.MediaProcess` at the other end of a SOCK_SEQPACKET socket. Each packet to it
is a task of `agents.media.protocol` with the descriptors of open files; each packet from it is a
message of the same module.

The files are hostile and their parser is C code, so the kernel restricts the process to the files
of its task: RLIMIT_NOFILE leaves descriptors for those (FILES at most) and none for a socket or
another file, and where seccomp is available the system calls that open something are rejected.
"""

import os
import resource
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from io import BytesIO
from typing import Any

from agents.confinement.limits import (
    die_with_parent,
    forbid_core_dumps,
    ignore_terminal_signals,
    limit_memory,
)
from agents.media.confinement import confine
from agents.media.joining import join
from agents.media.protocol import (
    EXTRACT_AUDIO,
    FILES_MAX,
    JOIN,
    MUX,
    PROBE,
    TAG,
    TASK_BYTES_MAX,
    Ready,
    pack,
    unpack_plan,
)
from agents.media.reading import read_facts
from agents.media.remuxing import extract_audio, mux, tag

TASKS: dict[bytes, tuple[Callable[..., Any], bool]] = {
    PROBE: (read_facts, False),
    EXTRACT_AUDIO: (extract_audio, True),
    MUX: (mux, True),
    JOIN: (join, True),
    TAG: (tag, True),
}
"""Function by task, and whether it writes the last file."""


def main(descriptor: int, parent: int, memory_bytes: int, files: int) -> None:
    """Serve tasks until the client closes the connection."""
    die_with_parent(parent)
    ignore_terminal_signals()
    forbid_core_dumps()
    # Warm-up: everything that a first file imports or opens must be there before the limits.
    read_facts(BytesIO(b"no media"))
    with socket.socket(fileno=descriptor) as connection:
        limit_memory(memory_bytes)
        limit_descriptors(files)
        confine()
        connection.sendall(pack(Ready()))
        while _serve(connection):
            pass


def limit_descriptors(count: int) -> None:
    """Limit the process to this many descriptors beyond the open ones."""
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + count, free + count))


def _serve(connection: socket.socket) -> bool:
    packet, descriptors, _, _ = socket.recv_fds(connection, TASK_BYTES_MAX, FILES_MAX)
    task, _, plan = packet.partition(b" ")
    if task not in TASKS:
        return False
    run, writes = TASKS[task]
    with ExitStack() as stack:
        files = [
            stack.enter_context(
                open(each, "r+b" if writes and each is descriptors[-1] else "rb", buffering=0)  # noqa: PTH123 - a descriptor
            )
            for each in descriptors
        ]
        answer = run(unpack_plan(plan), *files) if plan else run(*files)
    connection.sendall(pack(answer))
    return True


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
