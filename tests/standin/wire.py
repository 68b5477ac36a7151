"""HTTP/1.1 as data: a parsed request, a reply, and its delivery."""

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
    """The bytes are no supported HTTP request."""


@dataclass(frozen=True)
class Request:
    """One request.

    Attributes:
        method: Upper case.
        host: Without port, lower case.
        target: Of the request line, unchanged.
        headers: By lower-case name; the last value of a name wins.
        egress: Name of the stand-in's proxy that received it.
        body: Of a POST request.
    """

    method: str
    host: str
    target: str
    headers: dict[str, str] = field(default_factory=dict)
    egress: str = ""
    body: bytes = b""

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
    """Where and how a delivery ends prematurely.

    Attributes:
        after_bytes: Body bytes sent before; `BEFORE_HEAD` omits even the status line.
        how: Orderly close, TCP reset, or silence until the client disconnects.
    """

    after_bytes: int
    how: CutKind


BEFORE_HEAD = -1


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a reply is sent.

    Attributes:
        wait_seconds: Delay before the first byte.
        bytes_per_second: Rate of the body; None for full speed.
        cut: The premature end, if any.
    """

    wait_seconds: float = 0.0
    bytes_per_second: float | None = None
    cut: Cut | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send: their number, and a source of chunks."""

    length: int
    chunks: Callable[[], Iterable[bytes | memoryview]]


@dataclass(frozen=True, slots=True)
class Reply:
    """A response.

    Attributes:
        status: HTTP status.
        body: After the head.
        headers: Besides Content-Length and Connection.
        delivery: How it is sent.
        sized: Whether it has a Content-Length; otherwise the connection is closed at the end.
        video_id: Of the request, for the counters.
        kind: Of the request, for the counters.
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
    """A body of bytes in memory."""
    return Body(sum(map(len, parts)), lambda: (b"".join(parts),))


def text_reply(status: int, text: str, *headers: tuple[str, str]) -> Reply:
    """A short plain-text reply."""
    return Reply(status, whole(text.encode()), (("Content-Type", "text/plain"), *headers))


async def read_request(reader: asyncio.StreamReader, host: str = "") -> Request | None:
    """The next request of a connection, None at its end.

    Raises:
        BadRequestError: The bytes are no request.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequestError("the head is too long") from error
    return parse_head(head, host)


def parse_head(head: bytes, host: str = "") -> Request:
    """Parse a request head; ``host`` is the default for a missing Host header."""
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
        BadRequestError: It is too large, or its length is no number.
    """
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        raise BadRequestError(f"a body of {length[:20]} bytes is not taken")
    return await reader.readexactly(int(length))
