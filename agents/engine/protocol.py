"""What the pool and a worker process say to each other: frames of a length and a message.

A frame is four bytes (length, big-endian) and one MessagePack map, tagged by ``type``.
The pool sends `Setup` once, then an `Assignment` per job; the process answers `Ready` once, then
`Complete` or `Failed` per job, in any order, and to each `Ping` at once a `Pong`.
"""

import asyncio
import socket
import struct
from typing import TypeVar

import msgspec

from agents.engine.interface import EngineFailure, EngineJob
from schemas.video import Cookie, EngineVersions

FRAME_BYTES_MAX = 4 * 1024 * 1024
"""Larger than any message can be (a result is bounded far below it): more means a broken peer."""

_LENGTH = struct.Struct("!I")


class Setup(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """What a new process needs to know.

    Attributes:
        threads: jobs that it runs at once.
        page_bytes_max: bytes of one decoded response.
        request_timeout_seconds: total time of one request.
        memory_bytes_max: private memory of the process.
        proxies: URL of each egress's proxy, None without one; may hold credentials.
        ca_file: PEM file of trusted roots.
    """

    threads: int
    page_bytes_max: int
    request_timeout_seconds: float
    memory_bytes_max: int
    proxies: dict[str, str | None]
    ca_file: str


class Assignment(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One job. ``seconds`` is what is left of its deadline."""

    number: int
    job: EngineJob
    seconds: float


class Ping(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Does the process live?"""


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The process takes jobs from now on."""

    pid: int
    versions: EngineVersions
    impersonation: bool
    native_proof_of_work: bool = False


class Pong(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """It does: none of its threads keeps the others from running."""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The extractor's result. ``raw`` is JSON; for ``challenge_seconds`` see `ProofOfWork`."""

    number: int
    raw: bytes
    cookies: tuple[Cookie, ...]
    challenge_seconds: tuple[float, ...] = ()


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The extractor's failure."""

    number: int
    failure: EngineFailure
    challenge_seconds: tuple[float, ...] = ()


ToProcess = Setup | Assignment | Ping
FromProcess = Ready | Pong | Finished | Failed
Message = TypeVar("Message", bound=ToProcess | FromProcess)

_encoder = msgspec.msgpack.Encoder()
_to_process: msgspec.msgpack.Decoder[ToProcess] = msgspec.msgpack.Decoder(ToProcess)
_from_process: msgspec.msgpack.Decoder[FromProcess] = msgspec.msgpack.Decoder(FromProcess)


class ProtocolError(Exception):
    """The other side sent something that is no frame."""


def frame(message: ToProcess | FromProcess) -> bytes:
    """Return the message with its length in front."""
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


async def read_message(reader: asyncio.StreamReader) -> FromProcess:
    """Return what a process said next.

    Raises:
        EOFError: it hung up.
        ProtocolError: it sent no frame of ours.
    """
    length = _checked_length(await reader.readexactly(_LENGTH.size))
    return _decoded(_from_process, await reader.readexactly(length))


def receive(connection: socket.socket) -> ToProcess:
    """Return what the pool said next; blocks.

    Raises:
        EOFError: it hung up.
        ProtocolError: it sent no frame of ours.
    """
    length = _checked_length(_receive_exactly(connection, _LENGTH.size))
    return _decoded(_to_process, _receive_exactly(connection, length))


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise EOFError("the pool hung up")
        data += piece
    return bytes(data)


def _checked_length(header: bytes) -> int:
    length: int = _LENGTH.unpack(header)[0]
    if length > FRAME_BYTES_MAX:
        raise ProtocolError(f"a frame of {length} bytes; {FRAME_BYTES_MAX} is the most")
    return length


def _decoded(decoder: msgspec.msgpack.Decoder[Message], body: bytes) -> Message:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(f"a frame without a message: {error}") from error
