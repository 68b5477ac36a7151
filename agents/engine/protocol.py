"""Protocol between the pool and a worker process: length-prefixed MessagePack messages.

A frame is four bytes (length, big-endian) and one MessagePack map, tagged by ``type``.
The pool sends `Setup` once, then an `Assignment` per job; the process answers `ProcessReady` once,
then `JobFinished` or `JobFailed` per job, in any order, and each `Ping` immediately with a `Pong`.
"""

import asyncio
import socket
import struct
from typing import TypeVar

import msgspec

from agents.engine.interface import EngineFailure, EngineJob
from agents.engine.javascript_support import DISABLED, JavaScriptSupport
from schemas.video import Cookie, EngineVersions

FRAME_BYTES_MAX = 4 * 1024 * 1024
"""Larger than any valid message (results are limited far below it): more means a broken peer."""

_LENGTH = struct.Struct("!I")


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Configuration of a new process.

    Attributes:
        threads: maximum of concurrent jobs.
        page_bytes_max: limit of one decoded response.
        request_timeout_seconds: total time of one request.
        memory_bytes_max: private memory of the process.
        proxies: proxy URL by egress, None without one; may hold credentials.
        ca_file: PEM file of trusted roots.
        javascript: whether programs of pages are run, if that is installed.
    """

    threads: int
    page_bytes_max: int
    request_timeout_seconds: float
    memory_bytes_max: int
    proxies: dict[str, str | None]
    ca_file: str
    javascript: bool = True


class Assignment(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One job, with the ``seconds`` left until its deadline."""

    number: int
    job: EngineJob
    seconds: float


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Heartbeat request."""


class ProcessReady(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process is set up and accepts jobs."""

    pid: int
    versions: EngineVersions
    impersonation: bool
    native_proof_of_work: bool = False
    javascript: JavaScriptSupport = DISABLED


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Heartbeat response: no thread of the process is blocking the others by holding the GIL."""


class JobFinished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The extractor's result. ``raw`` is JSON; for ``challenge_seconds`` see `ProofOfWork`."""

    number: int
    raw: bytes
    cookies: tuple[Cookie, ...]
    challenge_seconds: tuple[float, ...] = ()


class JobFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The extractor's failure."""

    number: int
    failure: EngineFailure
    challenge_seconds: tuple[float, ...] = ()


ToProcess = Setup | Assignment | Ping
FromProcess = ProcessReady | Pong | JobFinished | JobFailed
ProcessMessage = TypeVar("ProcessMessage", bound=ToProcess | FromProcess)

_encoder = msgspec.msgpack.Encoder()
_to_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_from_process: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)


class ProtocolError(Exception):
    """The peer sent an invalid frame."""


def frame(message: ToProcess | FromProcess) -> bytes:
    """Return the length-prefixed message."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


async def read_message(reader: asyncio.StreamReader) -> FromProcess:
    """Return the next message of a process.

    Raises:
        EOFError: the process closed the connection.
        ProtocolError: it sent an invalid frame.
    """
    length = _checked_length(await reader.readexactly(_LENGTH.size))
    return _decode(_from_process, await reader.readexactly(length))


def receive(connection: socket.socket) -> ToProcess:
    """Return the next message of the pool; blocks.

    Raises:
        EOFError: the pool closed the connection.
        ProtocolError: it sent an invalid frame.
    """
    length = _checked_length(_receive_exactly(connection, _LENGTH.size))
    return _decode(_to_process, _receive_exactly(connection, length))


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError("the pool closed the connection")
        data += piece
    return bytes(data)


def _checked_length(header: bytes) -> int:
    length: int = _LENGTH.unpack(header)[0]
    if length > FRAME_BYTES_MAX:
        raise ProtocolError(f"a frame of {length} bytes; the maximum is {FRAME_BYTES_MAX}")
    return length


def _decode(decoder: msgspec.msgpack.Decoder[ProcessMessage], body: bytes) -> ProcessMessage:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a frame without a message: {error}") from error
