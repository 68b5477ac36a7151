"""The life of a worker process: take assignments, run them in threads, answer."""

import os
import queue
import socket
import threading
from pathlib import Path

from agents.engine.extraction import Extraction
from agents.engine.handlers import IMPERSONATION, engine_versions
from agents.engine.limits import limit_memory
from agents.engine.protocol import (
    Assignment,
    Failed,
    Finished,
    ProtocolError,
    Ready,
    Setup,
    frame,
    receive,
)
from agents.engine.requesting import Bounds
from agents.network.guard import connect_check, install_connect_guard
from agents.network.proxy import parse_proxy

THREAD_STACK_BYTES = 2 * 1024 * 1024
"""Enough for CPython's recursion limit; the usual 8 MiB would count eight times as memory."""

Inbox = queue.SimpleQueue[Assignment]


def serve(connection: socket.socket) -> None:
    """Work for the pool at the other end of the connection until it hangs up.

    Raises:
        ProtocolError: the pool does not speak our protocol.
    """
    setup = receive(connection)
    if not isinstance(setup, Setup):
        raise ProtocolError("the first frame must be a Setup")
    limit_memory(setup.memory_bytes_max)
    install_connect_guard(*setup.proxies.values())
    inbox = _start_threads(setup, connection)
    connection.sendall(frame(_ready()))
    _take_assignments(connection, inbox)


def _ready() -> Ready:
    return Ready(pid=os.getpid(), versions=engine_versions(), impersonation=IMPERSONATION)


def _take_assignments(connection: socket.socket, inbox: Inbox) -> None:
    while True:
        try:
            message = receive(connection)
        except EOFError:
            return
        if not isinstance(message, Assignment):
            raise ProtocolError("only the first frame may be a Setup")
        inbox.put(message)


def _start_threads(setup: Setup, connection: socket.socket) -> Inbox:
    inbox: Inbox = queue.SimpleQueue()
    sending = threading.Lock()
    threading.stack_size(THREAD_STACK_BYTES)
    for _ in range(setup.threads):
        arguments = (setup, inbox, connection, sending)
        threading.Thread(target=_work, args=arguments, daemon=True).start()
    return inbox


def _work(setup: Setup, inbox: Inbox, connection: socket.socket, sending: threading.Lock) -> None:
    extraction = Extraction(_bounds(setup), setup.proxies)
    while True:
        answer = extraction.run(inbox.get())
        _send(connection, sending, answer)


def _send(connection: socket.socket, sending: threading.Lock, answer: Finished | Failed) -> None:
    with sending:
        try:
            connection.sendall(frame(answer))
        except OSError:
            # Nobody is left to work for.
            os._exit(0)


def _bounds(setup: Setup) -> Bounds:
    return Bounds(
        page_bytes_max=setup.page_bytes_max,
        request_seconds=setup.request_timeout_seconds,
        ca_file=Path(setup.ca_file),
        permits=connect_check(*map(parse_proxy, setup.proxies.values())),
    )
