"""Life cycle of a worker process in a thread of the test; guard and limits are replaced."""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import certifi
import msgspec
import pytest

from agents.engine import worker_main
from agents.engine.interface import EngineFailure, EngineJob
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
    ToProcess,
    frame,
)
from tests.unit.agents.engine.extractors import extractor_path

SETUP = Setup(
    threads=2,
    page_bytes_max=1_000,
    request_timeout_seconds=5,
    memory_bytes_max=123_456,
    proxies={"a": "http://127.0.0.1:3128", "direct": None},
    ca_file=certifi.where(),
)


DECODER: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)


class PoolConnection:
    """The pool's end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.file = connection.makefile("rwb")

    def send(self, message: ToProcess) -> None:
        self.file.write(frame(message))
        self.file.flush()

    def receive(self) -> FromProcess:
        length = int.from_bytes(self.file.read(4), "big")
        return DECODER.decode(self.file.read(length))


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    seen: dict[str, object] = {}
    monkeypatch.setattr(worker_main, "limit_memory", lambda limit: seen.update(memory=limit))
    monkeypatch.setattr(worker_main, "install_connect_guard", lambda *urls: seen.update(urls=urls))
    return seen


@contextmanager
def serving() -> Iterator[PoolConnection]:
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    thread = threading.Thread(target=worker_main.serve, args=(theirs,))
    thread.start()
    pool = PoolConnection(ours)
    with theirs:
        yield pool
        pool.file.close()
        ours.close()
        thread.join(10)
        assert not thread.is_alive()


def assignment(number: int, url: str = "test:1", kind: str = "Echo") -> Assignment:
    job = EngineJob(url=url, extractor=extractor_path(kind))
    return Assignment(number=number, job=job, seconds=9)


def test_process_reports_ready_and_sets_its_limits(limits: dict[str, object]) -> None:
    with serving() as pool:
        pool.send(SETUP)
        ready = pool.receive()
    assert isinstance(ready, ProcessReady)
    assert ready.impersonation
    assert limits == {"memory": 123_456, "urls": ("http://127.0.0.1:3128", None)}


def test_every_assignment_is_answered(limits: dict[str, object]) -> None:
    with serving() as pool:
        pool.send(SETUP)
        assert limits is not None
        assert isinstance(pool.receive(), ProcessReady)
        answers = []
        for number in range(1, 6):
            pool.send(assignment(number, kind="Fail" if number % 2 else "Echo"))
            answers.append(pool.receive())
    kinds = {
        answer.number: type(answer)
        for answer in answers
        if isinstance(answer, JobFinished | JobFailed)
    }
    assert kinds == {1: JobFailed, 2: JobFinished, 3: JobFailed, 4: JobFinished, 5: JobFailed}


def test_threads_run_jobs_concurrently(limits: dict[str, object]) -> None:
    with serving() as pool:
        pool.send(SETUP)
        assert limits is not None
        pool.receive()
        pool.send(assignment(1, "test:?seconds=0.5"))
        pool.send(assignment(2, "test:?seconds=0"))
        answers = [pool.receive(), pool.receive()]
    assert [answer.number for answer in answers if isinstance(answer, JobFinished | JobFailed)] == [
        2,
        1,
    ]


def test_ping_is_answered_while_threads_are_busy(limits: dict[str, object]) -> None:
    with serving() as pool:
        pool.send(SETUP)
        assert limits is not None
        pool.receive()
        pool.send(assignment(1, "test:?seconds=0.3"))
        pool.send(assignment(2, "test:?seconds=0.3"))
        pool.send(Ping())
        kinds = [type(pool.receive()) for _ in range(3)]
    assert kinds == [Pong, JobFinished, JobFinished]


@pytest.mark.parametrize(
    "messages", [[assignment(1)], [SETUP, SETUP]], ids=["no setup", "second setup"]
)
def test_message_out_of_order_ends_the_process(
    messages: list[ToProcess], limits: dict[str, object]
) -> None:
    ours, theirs = socket.socketpair()
    assert limits == {}
    with ours, theirs:
        ours.sendall(b"".join(frame(message) for message in messages))
        with pytest.raises(ProtocolError):
            worker_main.serve(theirs)


def test_process_ends_when_its_pool_is_gone(
    limits: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    assert limits == {}
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs:
        worker_main._send(theirs, threading.Lock(), JobFinished(number=1, raw=b"{}", cookies=()))
    assert ended == [0]


@pytest.mark.parametrize(
    ("types", "curl_code", "codes"),
    [
        (("MemoryError",), None, [worker_main.OUT_OF_MEMORY]),
        (("ExtractorError", "MemoryError"), None, [worker_main.OUT_OF_MEMORY]),
        (("ExtractorError", "CurlError"), 27, [worker_main.OUT_OF_MEMORY]),
        (("ExtractorError", "CurlError"), 28, []),
        (("KeyError",), None, []),
    ],
)
def test_process_out_of_memory_answers_and_exits(
    limits: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    types: tuple[str, ...],
    curl_code: int | None,
    codes: list[int],
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    assert limits == {}
    failure = EngineFailure(types=types, message="x", curl_code=curl_code)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        worker_main._send(theirs, threading.Lock(), JobFailed(number=1, failure=failure))
        assert ended == codes
        assert len(ours.recv(1_000)) > 4
