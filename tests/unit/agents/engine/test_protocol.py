import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engine.interface import EngineFailure, EngineJob
from agents.engine.protocol import (
    FRAME_BYTES_MAX,
    Assignment,
    FromProcess,
    JobFailed,
    JobFinished,
    ProcessReady,
    ProtocolError,
    Setup,
    ToProcess,
    frame,
    read_message,
    receive,
)
from schemas.video import Cookie, EngineVersions

COOKIES = (Cookie(name="a", value="b", domain=".a.example"),)
TO_PROCESS: list[ToProcess] = [
    Setup(
        threads=8,
        page_bytes_max=1,
        request_timeout_seconds=2.5,
        memory_bytes_max=3,
        proxies={"a": "http://user:pw@127.0.0.1:1", "direct": None},
        ca_file="/ca.pem",
    ),
    Assignment(
        number=7,
        job=EngineJob(url="https://a.example", extractor="a:B", cookies=COOKIES),
        seconds=3.5,
    ),
]
FROM_PROCESS: list[FromProcess] = [
    ProcessReady(pid=1, versions=EngineVersions(yt_dlp="1", curl_cffi="2"), impersonation=True),
    JobFinished(number=1, raw=b'{"id": "\xc3\xa4"}', cookies=COOKIES),
    JobFailed(number=2, failure=EngineFailure(types=("A", "B"), message="m", facts={"a": "b"})),
]


def names(messages: list[object]) -> list[str]:
    return [type(message).__name__ for message in messages]


def receive_bytes(data: bytes) -> ToProcess:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            theirs.sendall(data)
        return receive(ours)


async def read_bytes(data: bytes) -> FromProcess:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_message(reader)


@pytest.mark.parametrize("message", TO_PROCESS, ids=names([*TO_PROCESS]))
def test_message_to_the_process_round_trips(message: ToProcess) -> None:
    assert receive_bytes(frame(message)) == message


@pytest.mark.parametrize("message", FROM_PROCESS, ids=names([*FROM_PROCESS]))
async def test_message_to_the_pool_round_trips(message: FromProcess) -> None:
    assert await read_bytes(frame(message)) == message


def test_process_receives_consecutive_frames() -> None:
    ours, theirs = socket.socketpair()
    data = frame(TO_PROCESS[0]) + frame(TO_PROCESS[1])
    with ours, theirs:
        theirs.sendall(data)
        assert [receive(ours), receive(ours)] == TO_PROCESS


@pytest.mark.parametrize("data", [b"", b"\x00\x00", frame(TO_PROCESS[0])[:-1]], ids=len)
def test_disconnect_ends_the_process_side(data: bytes) -> None:
    with pytest.raises(EOFError):
        receive_bytes(data)


@pytest.mark.parametrize("data", [b"", b"\x00\x00", frame(FROM_PROCESS[0])[:-1]], ids=len)
async def test_disconnect_ends_the_pool_side(data: bytes) -> None:
    with pytest.raises(EOFError):
        await read_bytes(data)


async def test_oversized_frame_is_rejected_by_its_header() -> None:
    header = struct.pack("!I", FRAME_BYTES_MAX + 1)
    with pytest.raises(ProtocolError, match=str(FRAME_BYTES_MAX)):
        await read_bytes(header)
    with pytest.raises(ProtocolError, match=str(FRAME_BYTES_MAX)):
        receive_bytes(header)


async def test_message_of_the_other_direction_is_rejected() -> None:
    with pytest.raises(ProtocolError):
        await read_bytes(frame(TO_PROCESS[0]))
    with pytest.raises(ProtocolError):
        receive_bytes(frame(FROM_PROCESS[0]))


@given(st.binary(max_size=200))
def test_garbage_is_rejected(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        receive_bytes(struct.pack("!I", len(body)) + body)
