import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin.wire import (
    BadRequestError,
    Reply,
    Request,
    parse_head,
    read_body,
    read_request,
    whole,
)


def reader_of(*parts: bytes, limit: int = 64 * 1024) -> asyncio.StreamReader:
    reader = asyncio.StreamReader(limit=limit)
    for part in parts:
        reader.feed_data(part)
    reader.feed_eof()
    return reader


def test_request_head_is_parsed() -> None:
    request = parse_head(
        b"get /a%20b?x=1&y=%2F HTTP/1.1\r\nHost: WWW.TikTok.com:443\r\nCookie: a=b=; c=d\r\n\r\n"
    )

    assert (request.method, request.host, request.path) == ("GET", "www.tiktok.com", "/a b")
    assert request.query == {"x": "1", "y": "/"}
    assert request.cookies == {"a": "b=", "c": "d"}


def test_host_of_the_tunnel_is_the_fallback() -> None:
    assert parse_head(b"GET / HTTP/1.1\r\n\r\n", "vm.tiktok.com").host == "vm.tiktok.com"


@given(st.binary(max_size=200))
def test_any_head_is_parsed_or_a_bad_request(head: bytes) -> None:
    try:
        request = parse_head(head + b"\r\n\r\n")
    except BadRequestError:
        return
    assert isinstance(request.cookies, dict)


async def test_requests_of_a_connection_are_read_one_by_one() -> None:
    reader = reader_of(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HT", b"TP/1.1\r\n\r\n")
    targets = []
    while (request := await read_request(reader)) is not None:
        targets.append(request.target)

    assert targets == ["/1", "/2"]


async def test_unterminated_head_is_rejected() -> None:
    with pytest.raises(BadRequestError, match="too long"):
        await read_request(reader_of(b"x" * 500, limit=100))


@pytest.mark.parametrize("length", ["65537", "-1", "many", "1e3"])
async def test_invalid_content_length_is_rejected(length: str) -> None:
    request = Request("POST", "h", "/", {"content-length": length})

    with pytest.raises(BadRequestError, match="is not taken"):
        await read_body(reader_of(b""), request)


async def test_body_is_read_to_its_length() -> None:
    request = Request("POST", "h", "/", {"content-length": "3"})

    assert await read_body(reader_of(b"abcdef"), request) == b"abc"


@pytest.mark.parametrize(
    ("sized", "last"), [(True, "Content-Length: 5"), (False, "Connection: close")]
)
def test_head_of_a_reply_is_serialized(sized: bool, last: str) -> None:
    head = Reply(206, whole(b"ab", b"cde"), (("ETag", '"1"'),), sized=sized).head().decode()

    assert head == f'HTTP/1.1 206 Partial Content\r\nETag: "1"\r\n{last}\r\n\r\n'
