"""Main loop of a worker process: receives assignments, runs them in threads, sends answers.

Runs in a fork of `agents.engine.forkserver`; the protocol is `agents.engine.protocol`.
"""

import os
import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from agents.confinement.limits import limit_memory
from agents.engine.extraction import JobRunner
from agents.engine.failures import is_out_of_memory
from agents.engine.handlers import IMPERSONATION, engine_versions
from agents.engine.javascript_support import DISABLED, javascript_support
from agents.engine.proof_of_work import IS_NATIVE
from agents.engine.protocol import (
    Assignment,
    FromProcess,
    JobFailed,
    JobFinished,
    Ping,
    Pong,
    ProcessReady,
    ProtocolError,
    Setup,
    frame,
    receive,
)
from agents.engine.request_bounds import Bounds
from agents.network.egress import parse_proxy
from agents.network.guard import connect_check, install_connect_guard

STACK_BYTES = 2 * 1024 * 1024
"""Enough for CPython's recursion limit; the default 8 MiB per thread count as private memory."""

RunJob = Callable[[Assignment], JobFinished | JobFailed]
"""Runs one job; never raises. Used by one thread."""

_Inbox = queue.SimpleQueue[Assignment]


class ThreadPool:
    """LIFO thread pool: a job runs on the thread idle last; threads are started on demand.

    So a process under low load uses few threads, and reuses their connections.

    Args:
        threads_max: maximum of threads.
        make_runner: called once in each thread.
        on_done: called with the answer to each job, in the job's thread.
    """

    def __init__(
        self,
        threads_max: int,
        make_runner: Callable[[], RunJob],
        on_done: Callable[[JobFinished | JobFailed], None],
    ) -> None:
        threading.stack_size(STACK_BYTES)
        self._threads_max = threads_max
        self._make_runner = make_runner
        self._on_done = on_done
        self._count = 0
        self._idle: list[_Inbox] = []

    def run(self, assignment: Assignment) -> None:
        """Run the job in a thread. Call it from one thread only.

        Raises:
            ProtocolError: all threads are busy.
        """
        # No lock: pop and append are atomic, and this is the only thread that pops.
        inbox = self._idle.pop() if self._idle else self._start()
        inbox.put(assignment)

    def _start(self) -> _Inbox:
        if self._count == self._threads_max:
            raise ProtocolError(f"more than {self._threads_max} jobs at once")
        self._count += 1
        inbox: _Inbox = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(inbox,), daemon=True).start()
        return inbox

    def _work(self, inbox: _Inbox) -> None:
        run = self._make_runner()
        while True:
            done = run(inbox.get())
            # Idle before the answer: the pool may send the next job as soon as it has it.
            self._idle.append(inbox)
            self._on_done(done)


OUT_OF_MEMORY = 3
"""Exit code of a process that ended itself because it ran out of memory."""


def serve(connection: socket.socket) -> None:
    """Serve the pool at the other end of the connection until it closes.

    Raises:
        ProtocolError: the pool sent an invalid or unexpected frame.
    """
    setup = receive(connection)
    if not isinstance(setup, Setup):
        raise ProtocolError("the first frame must be a Setup")
    limit_memory(setup.memory_bytes_max)
    install_connect_guard(*setup.proxies.values())
    send_lock = threading.Lock()
    threads = _thread_pool(setup, connection, send_lock)
    _send(connection, send_lock, _ready(setup))
    _receive_all(connection, send_lock, threads)


def _ready(setup: Setup) -> ProcessReady:
    return ProcessReady(
        pid=os.getpid(),
        versions=engine_versions(),
        impersonation=IMPERSONATION,
        native_proof_of_work=IS_NATIVE,
        javascript=javascript_support() if setup.javascript else DISABLED,
    )


def _receive_all(connection: socket.socket, send_lock: threading.Lock, threads: ThreadPool) -> None:
    while True:
        try:
            message = receive(connection)
        except EOFError:
            return
        match message:
            case Assignment():
                threads.run(message)
            case Ping():
                _send(connection, send_lock, Pong())
            case Setup():
                raise ProtocolError("only the first frame may be a Setup")


def _thread_pool(setup: Setup, connection: socket.socket, send_lock: threading.Lock) -> ThreadPool:
    bounds = _bounds(setup)

    def make_runner() -> RunJob:
        return JobRunner(bounds, setup.proxies, javascript=setup.javascript).run

    def on_done(done: JobFinished | JobFailed) -> None:
        _send(connection, send_lock, done)

    return ThreadPool(setup.threads, make_runner, on_done)


def _send(connection: socket.socket, send_lock: threading.Lock, answer: FromProcess) -> None:
    with send_lock:
        try:
            connection.sendall(frame(answer))
        except OSError:
            # The pool has closed the connection: no answer can be delivered any more.
            os._exit(0)
        if isinstance(answer, JobFailed) and is_out_of_memory(answer.failure):
            # The memory may never be released; the supervisor replaces the process at once.
            os._exit(OUT_OF_MEMORY)


def _bounds(setup: Setup) -> Bounds:
    return Bounds(
        page_bytes_max=setup.page_bytes_max,
        request_seconds=setup.request_timeout_seconds,
        ca_file=Path(setup.ca_file),
        permits=connect_check(*map(parse_proxy, setup.proxies.values())),
    )
