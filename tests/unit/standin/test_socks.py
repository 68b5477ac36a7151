"""The SOCKS proxy itself, tested byte by byte and with curl as an independent client."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from curl_cffi import requests

from tests.standin import Standin, video_id
from tests.standin.socks import PASSWORD, USER

HELLO = bytes([5, 1, 0])
WITH_LOGIN = bytes([5, 2, 0, 2])


def connect_request(host: str = "www.tiktok.com", port: int = 443, command: int = 1) -> bytes:
    name = host.encode()
    return bytes([5, command, 0, 3, len(name)]) + name + port.to_bytes(2, "big")


def login(user: str, password: str) -> bytes:
    texts = [each.encode() for each in (user, password)]
    return b"\x01" + b"".join(bytes([len(each)]) + each for each in texts)


@asynccontextmanager
async def connect_to_proxy(
    standin: Standin,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = int(standin.socks_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def exchange(standin: Standin, *messages: bytes) -> bytes:
    """Send messages at once; return everything that is received."""
    async with connect_to_proxy(standin) as (reader, writer):
        writer.write(b"".join(messages))
        return await asyncio.wait_for(reader.read(), 5)


IPV4 = bytes([5, 1, 0, 1, 127, 0, 0, 1, 1, 187])
IPV6 = bytes([5, 1, 0, 4]) + bytes(15) + bytes([1, 1, 187])


@pytest.mark.parametrize(
    ("request_bytes", "reply"),
    [
        (connect_request("www.example.com"), 2),
        (connect_request("www.tiktok.com", 80), 2),
        (connect_request("eviltiktok.com"), 2),
        (IPV4, 2),
        (IPV6, 2),
        (connect_request(command=2), 7),
        (connect_request(command=3), 7),
    ],
)
async def test_other_destinations_are_refused(
    standin: Standin, request_bytes: bytes, reply: int
) -> None:
    response = await exchange(standin, HELLO, request_bytes)
    assert (response[:2], response[2:4]) == (b"\x05\x00", bytes([5, reply]))
    assert standin.counters.connections == 0


@pytest.mark.parametrize(
    ("user", "password", "granted"),
    [
        (USER, PASSWORD, True),
        (USER, "other", False),
        ("", "", False),
        ("x" * 255, "y" * 255, False),
    ],
)
async def test_only_the_configured_login_is_accepted(
    standin: Standin, user: str, password: str, *, granted: bool
) -> None:
    standin.switches.set("socks.reply", param=5)
    response = await exchange(standin, WITH_LOGIN, login(user, password), connect_request())
    assert response[:4] == bytes([5, 2, 1, 0 if granted else 1])
    assert response[4:6] == (bytes([5, 5]) if granted else b"")


@pytest.mark.parametrize("message", [b"GET / HTTP/1.1\r\n\r\n", b"\x04\x01\x00\x50aaaa\x00"])
async def test_other_protocols_get_no_response(standin: Standin, message: bytes) -> None:
    assert await exchange(standin, message) == b""


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("socks.methods", b"\x05\xff"),
        ("socks.close", b""),
        ("socks.http", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        ("connect.502", b"\x05\x00\x05\x04"),
    ],
)
async def test_failure_scenario_has_its_response(
    standin: Standin, scenario: str, expected: bytes
) -> None:
    standin.switches.set(scenario, times=1)
    response = await exchange(standin, HELLO, connect_request())
    assert response.startswith(expected)
    assert bool(response) is bool(expected)


def curl(standin: Standin, prefix: str) -> int:
    with requests.Session() as session:
        url = f"https://www.tiktok.com/@_/video/{video_id()}"
        proxy = standin.socks_url.replace("://", prefix)
        status: int = session.get(url, proxy=proxy, verify=str(standin.ca_file)).status_code
        return status


@pytest.mark.parametrize("prefix", ["://", f"://{USER}:s3cret%2F%40%3A@"])
async def test_curl_reads_a_page_through_the_proxy(standin: Standin, prefix: str) -> None:
    assert await asyncio.to_thread(curl, standin, prefix) == 200
    assert standin.counters.requests["page"] == 1


async def test_curl_with_a_wrong_login_is_rejected(standin: Standin) -> None:
    with pytest.raises(requests.exceptions.RequestException, match="rejected by the SOCKS5 server"):
        await asyncio.to_thread(curl, standin, f"://{USER}:wrong@")
