"""The proxy itself: which targets it accepts, and that it never opens a connection."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.standin import Standin
from tests.standin.site import is_standin_host


@asynccontextmanager
async def connect_to_proxy(
    standin: Standin,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    port = int(standin.proxy_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        await asyncio.wait([asyncio.ensure_future(writer.wait_closed())])


async def response_to(standin: Standin, request: str) -> bytes:
    async with connect_to_proxy(standin) as (reader, writer):
        writer.write(request.encode() + b"\r\n\r\n")
        return await asyncio.wait_for(reader.read(), 5)


@pytest.mark.parametrize(
    "target",
    [
        "www.example.com:443",
        "127.0.0.1:443",
        "169.254.169.254:443",
        "[::1]:443",
        "tiktok.com.example.com:443",
        "eviltiktok.com:443",
        "www.tiktok.com:80",
        "www.tiktok.com",
        "",
    ],
)
async def test_other_targets_are_refused(standin: Standin, target: str) -> None:
    response = await response_to(standin, f"CONNECT {target} HTTP/1.1")

    assert response.startswith(b"HTTP/1.1 403 ")
    assert standin.counters.refused_hosts == {target: 1}
    assert standin.counters.connections == 0


async def test_no_connection_is_opened(standin: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    async with connect_to_proxy(standin) as (reader, writer):
        connections: list[object] = []
        monkeypatch.setattr(socket.socket, "connect", lambda *to: connections.append(to))
        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", connections.append)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", connections.append)
        writer.write(b"CONNECT www.example.com:443 HTTP/1.1\r\n\r\n")
        await reader.read()

    assert connections == []


async def test_plain_request_to_the_site_is_redirected_to_https(standin: Standin) -> None:
    response = await response_to(standin, "GET http://vm.tiktok.com/ZM1?a=b HTTP/1.1")

    assert response.startswith(b"HTTP/1.1 301 ")
    assert b"Location: https://vm.tiktok.com/ZM1?a=b\r\n" in response


async def test_plain_request_to_another_host_is_refused(standin: Standin) -> None:
    response = await response_to(standin, "GET http://127.0.0.1/ HTTP/1.1\r\nHost: 127.0.0.1")

    assert response.startswith(b"HTTP/1.1 403 ")
    assert standin.counters.refused_hosts == {"127.0.0.1": 1}


@pytest.mark.parametrize("request_line", ["hello", "GET / SPDY/3", "CONNECT a b c HTTP/1.1"])
async def test_malformed_request_is_rejected(standin: Standin, request_line: str) -> None:
    assert (await response_to(standin, request_line)).startswith(b"HTTP/1.1 400 ")


async def test_connect_can_fail_once(standin: Standin) -> None:
    standin.switches.set("connect.502", video="www.tiktok.com", times=1)
    request = "CONNECT www.tiktok.com:443 HTTP/1.1"

    assert (await response_to(standin, request)).startswith(b"HTTP/1.1 502 ")
    async with connect_to_proxy(standin) as (reader, writer):
        writer.write(request.encode() + b"\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_connect_can_hang(standin: Standin) -> None:
    standin.switches.set("connect.hang")
    async with connect_to_proxy(standin) as (reader, writer):
        writer.write(b"CONNECT www.tiktok.com:443 HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.2)


async def test_failed_handshake_is_counted(standin: Standin) -> None:
    async with connect_to_proxy(standin) as (reader, writer):
        writer.write(b"CONNECT www.tiktok.com:443 HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"this is not TLS at all")
        await reader.read()

    assert (standin.counters.connections, standin.counters.failed_handshakes) == (0, 1)


async def test_close_ends_open_connections(standin: Standin) -> None:
    async with connect_to_proxy(standin) as (reader, writer):
        writer.write(b"CONNECT www.tiktok.com:443 HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await standin.__aexit__(None, None, None)
        try:
            rest = await asyncio.wait_for(reader.read(), 2)
        except ConnectionError:
            rest = b""

    assert rest == b""


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("tiktok.com", True),
        ("www.tiktok.com", True),
        ("v19-webapp-prime.us.tiktok.com", True),
        ("v16m.tiktokcdn-us.com", True),
        ("nottiktok.com", False),
        ("tiktok.com.evil", False),
        ("", False),
    ],
)
def test_host_belongs_to_the_site(host: str, ours: bool) -> None:
    assert is_standin_host(host) is ours
