"""HTTP/1.1 as data: a request that was read, a reply and how it is to be delivered."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Literal
from urllib.parse import parse_qsl, unquote

MAX_BODY_BYTES = 64 * 1024
Headers = tuple[tuple[str, str], ...]
CutKind = Literal["close", "reset", "hang"]


class BadRequestError(Exception):
    """The bytes are no HTTP request this server understands."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: Upper case.
        host: Without port, lower case.
        target: As it stood in the request line.
        headers: By lower-case name; the last of a name counts.
        egress: Which of the stand-in's ways it came by.
    """

    method: str
    host: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    egress: str = ""

    @cached_property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])

    @cached_property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2]))

    @cached_property
    def cookies(self) -> dict[str, str]:
        pairs = (item.partition("=") for item in self.headers.get("cookie", "").split(";"))
        return {name.strip(): value for name, _, value in pairs}


@dataclass(frozen=True, slots=True)
class Cut:
    """Where and how a delivery ends before it should.

    Attributes:
        after_bytes: Body bytes sent before; `BEFORE_HEAD` for not even the status line.
        how: Orderly close, TCP reset, or silence until the client goes.
    """

    after_bytes: int
    how: CutKind


BEFORE_HEAD = -1


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a reply goes out.

    Attributes:
        wait_seconds: Before the first byte.
        bytes_per_second: The pace of the body; nothing for as fast as it goes.
        cut: The premature end, if any.
    """

    wait_seconds: float = 0.0
    bytes_per_second: float | None = None
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send: how many, and where they come from, a chunk at a time."""

    length: int
    chunks: Callable[[], Iterable[bytes | memoryview]]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Attributes:
        status: HTTP status.
        body: What follows the head.
        headers: Besides Content-Length and Connection.
        delivery: How it goes out.
        sized: Whether Content-Length is given; without it the connection is closed at the end.
        video_id: Whose request it was, for the counters.
        kind: What was asked for, for the counters.
    """

    status: int
    body: Body
    headers: Headers = ()
    delivery: Delivery = Delivery()
    sized: bool = True
    video_id: str = ""
    kind: str = "other"

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {self.body.length}" if self.sized else "Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(*parts: bytes) -> Body:
    """A body that is there already."""
    return Body(sum(map(len, parts)), lambda: (b"".join(parts),))


def text_reply(status: int, text: str, *headers: tuple[str, str]) -> Reply:
    """A short plain answer."""
    return Reply(status, whole(text.encode()), (("Content-Type", "text/plain"), *headers))


async def read_request(reader: asyncio.StreamReader, host: str = "") -> Request | None:
    """The next request of a connection, or nothing at its end.

    Raises:
        BadRequestError: What came is no request.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequestError("the head is too long") from error
    return parse_head(head, host)


def parse_head(head: bytes, host: str = "") -> Request:
    """A request from its head; ``host`` stands in for a missing Host header."""
    request_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
    words = request_line.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequestError(f"no request line: {request_line[:80]!r}")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    named = headers.get("host", host).rpartition(":")[0] or headers.get("host", host)
    return Request(words[0].upper(), named.lower(), words[1], headers)


async def read_body(reader: asyncio.StreamReader, request: Request) -> bytes:
    """The body of a request with Content-Length.

    Raises:
        BadRequestError: It is too large or its length is no number.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise BadRequestError(f"a body of {length[:20]} bytes is not taken")
    return await reader.readexactly(int(length))
