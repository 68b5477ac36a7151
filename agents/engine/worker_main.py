"""The life of a worker process: take assignments, run them in threads, answer."""

import os
import socket
import threading
from pathlib import Path

from agents.engine.extraction import Extraction
from agents.engine.failures import is_out_of_memory
from agents.engine.handlers import IMPERSONATION, engine_versions
from agents.engine.limits import limit_memory
from agents.engine.proof_of_work import IS_NATIVE
from agents.engine.protocol import (
    Assignment,
    Failed,
    Finished,
    FromProcess,
    Ping,
    Pong,
    ProtocolError,
    Ready,
    Setup,
    frame,
    receive,
)
from agents.engine.request_bounds import Bounds
from agents.engine.threads import Run, Threads
from agents.network.guard import connect_check, install_connect_guard
from agents.network.proxy import parse_proxy

OUT_OF_MEMORY = 3
"""Exit code of a process that ended because it had no memory left."""


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
    sending = threading.Lock()
    threads = _threads(setup, connection, sending)
    _send(connection, sending, _ready())
    _take_orders(connection, sending, threads)


def _ready() -> Ready:
    return Ready(
        pid=os.getpid(),
        versions=engine_versions(),
        impersonation=IMPERSONATION,
        native_proof_of_work=IS_NATIVE,
    )


def _take_orders(connection: socket.socket, sending: threading.Lock, threads: Threads) -> None:
    while True:
        try:
            message = receive(connection)
        except EOFError:
            return
        match message:
            case Assignment():
                threads.run(message)
            case Ping():
                _send(connection, sending, Pong())
            case Setup():
                raise ProtocolError("only the first frame may be a Setup")


def _threads(setup: Setup, connection: socket.socket, sending: threading.Lock) -> Threads:
    bounds = _bounds(setup)

    def equip() -> Run:
        return Extraction(bounds, setup.proxies).run

    def answer(done: Finished | Failed) -> None:
        _send(connection, sending, done)

    return Threads(setup.threads, equip, answer)


def _send(connection: socket.socket, sending: threading.Lock, answer: FromProcess) -> None:
    with sending:
        try:
            connection.sendall(frame(answer))
        except OSError:
            # Nobody is left to work for.
            os._exit(0)
        if isinstance(answer, Failed) and is_out_of_memory(answer.failure):
            # Whoever took the memory may never give it back; a new process is there in a moment.
            os._exit(OUT_OF_MEMORY)


def _bounds(setup: Setup) -> Bounds:
    return Bounds(
        page_bytes_max=setup.page_bytes_max,
        request_seconds=setup.request_timeout_seconds,
        ca_file=Path(setup.ca_file),
        permits=connect_check(*map(parse_proxy, setup.proxies.values())),
    )
