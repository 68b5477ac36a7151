"""aiohttp through the stand-in's SOCKS proxy; failures: `tests.integration.network_samples`."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from agents.network.egress import Egress
from agents.network.errors import map_errors
from agents.network.session import open_session
from schemas.errors import ClipmillError, ErrorCode
from tests.standin import Standin, expected_media, video_id
from tests.standin.links import DOWNLOAD_HOST, Issue, media_url
from tests.standin.posts import post_for
from tests.standin.socks import PASSWORD, USER

VIDEO = video_id("kilobytes", param=300)
FORMAT = "play"
LOGIN = f"{USER}:{quote(PASSWORD, safe='')}@"


@pytest.fixture
async def standin(tmp_path: Path) -> AsyncIterator[Standin]:
    async with Standin(tmp_path) as running:
        yield running


def egress_of(standin: Standin, login: str = "") -> Egress:
    url = standin.socks_url.replace("://", f"://{login}")
    return Egress(name="socks", proxy=url, ca_file=standin.ca_file)


def media() -> str:
    return media_url(post_for(VIDEO), DOWNLOAD_HOST, FORMAT, Issue(4_000_000_000.0))


@pytest.mark.parametrize("login", ["", LOGIN], ids=["no login", "login"])
async def test_media_are_fetched_over_one_proxy_connection(standin: Standin, login: str) -> None:
    async with open_session(egress_of(standin, login)) as session:
        for _ in range(5):
            async with session.get(media()) as response:
                content = await response.read()
            assert (response.status, len(content)) == (200, expected_media(VIDEO, FORMAT).size)
    assert standin.counters.connections == 1


async def test_only_the_proxy_is_resolved_or_connected_to(
    standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, resolved, connected = asyncio.get_running_loop(), list[Any](), list[Any]()
    connect = loop.sock_connect

    async def record_connect(sock: socket.socket, address: Any) -> None:
        connected.append(address)
        await connect(sock, address)

    monkeypatch.setattr(loop, "getaddrinfo", lambda host, *_, **__: resolved.append(host))
    monkeypatch.setattr(loop, "sock_connect", record_connect)
    async with open_session(egress_of(standin)) as session:
        await session.get(media())
        for private in ("https://127.0.0.1/", "https://[::1]/", "https://localhost/"):
            with pytest.raises(ClipmillError, match="not allowed"), map_errors("it"):
                await session.get(private)
    port = int(standin.socks_url.rpartition(":")[2])
    assert (resolved, connected) == ([], [("127.0.0.1", port)] * 4)


async def test_rejected_login_is_not_shown(standin: Standin) -> None:
    refused = pytest.raises(ClipmillError, match="correct user and password")
    async with open_session(egress_of(standin, "hans:hunter2@")) as session:
        with refused as caught, map_errors("v16.tiktok.com"):
            await session.get(media())
    error = caught.value
    assert error.code is ErrorCode.SYSTEM_CONFIG
    assert not [each for each in ("hans", "hunter2") if each in f"{error} {error.details}"]
    assert error.__suppress_context__


async def test_proxy_disconnect_during_a_transfer_is_an_error(standin: Standin) -> None:
    video = video_id("media.reset", param=64)
    url = media_url(post_for(video), DOWNLOAD_HOST, FORMAT, Issue(4_000_000_000.0))
    async with open_session(egress_of(standin)) as session:
        with pytest.raises(ClipmillError) as caught, map_errors("v16.tiktok.com"):
            async with session.get(url) as response:
                await response.read()
    assert caught.value.code is ErrorCode.NETWORK_CONNECTION


async def test_concurrent_requests_are_served(standin: Standin) -> None:
    async def fetch() -> int:
        async with session.get(media()) as response:
            return len(await response.read())

    async with open_session(egress_of(standin, LOGIN)) as session:
        sizes = await asyncio.gather(*(fetch() for _ in range(50)))
    assert set(sizes) == {expected_media(VIDEO, FORMAT).size}
