"""The life of a worker process: take assignments, run them in threads, answer."""

import os
import queue
import socket
import threading
from collections.abc import Callable
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
from agents.network.guard import connect_check, install_connect_guard
from agents.network.proxy import parse_proxy

STACK_BYTES = 2 * 1024 * 1024
"""Enough for CPython's recursion limit; the usual 8 MiB would count as memory for each thread."""

Run = Callable[[Assignment], Finished | Failed]
"""Runs one job to its end. Belongs to one thread."""

_Inbox = queue.SimpleQueue[Assignment]


class Threads:
    """Runs each job on the thread that was idle last, and on a new one only when none is idle.

    So a process with little to do has few connections, and those are warm.

    Args:
        most: how many threads at most.
        equip: makes what runs a thread's jobs; called once in each of them.
        answer: gets what became of a job, in its thread.
    """

    def __init__(
        self, most: int, equip: Callable[[], Run], answer: Callable[[Finished | Failed], None]
    ) -> None:
        threading.stack_size(STACK_BYTES)
        self._most = most
        self._equip = equip
        self._answer = answer
        self._count = 0
        self._idle: list[_Inbox] = []

    def run(self, assignment: Assignment) -> None:
        """Have a thread run the job. Call it from one thread only.

        Raises:
            ProtocolError: all threads have a job already.
        """
        # Popping is atomic, and only the threads themselves put anything in.
        inbox = self._idle.pop() if self._idle else self._start()
        inbox.put(assignment)

    def _start(self) -> _Inbox:
        if self._count == self._most:
            raise ProtocolError(f"more than {self._most} jobs at once")
        self._count += 1
        inbox: _Inbox = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(inbox,), daemon=True).start()
        return inbox

    def _work(self, inbox: _Inbox) -> None:
        run = self._equip()
        while True:
            done = run(inbox.get())
            # Idle before the answer: who gets it may send the next job at once.
            self._idle.append(inbox)
            self._answer(done)


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
