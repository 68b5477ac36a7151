import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from agents.network import guard
from agents.network.egress import Egress
from agents.network.errors import map_errors
from agents.network.session import CONNECTIONS, open_session
from schemas.errors import ClipmillError, ErrorCode


class FixedResolver(AbstractResolver):
    """Resolves every name to the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses
        self.queries: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.queries.append(host)
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self.addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    made: list[Any] = []

    class Socket:
        def __init__(self, *arguments: Any) -> None:
            made.append(arguments)
            raise OSError("no sockets in this test")

    monkeypatch.setattr(guard, "socket", SimpleNamespace(socket=Socket))
    return made


@pytest.mark.parametrize(
    "addresses",
    [("10.0.0.1",), ("127.0.0.1", "::1"), ("169.254.169.254", "10.0.0.1", "fd00::1")],
    ids=["one", "loopback twice", "several"],
)
async def test_name_with_private_addresses_is_refused_without_a_socket(
    addresses: tuple[str, ...], no_sockets: list[Any]
) -> None:
    async with open_session(Egress(), resolver=FixedResolver(*addresses)) as session:
        refusal = pytest.raises(ClipmillError, match=r"v16\.tiktok\.com was rejected")
        with refusal as caught, map_errors("v16.tiktok.com"):
            await session.get("https://v16.tiktok.com/x?signature=secret")
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
    assert no_sockets == []


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1/", "https://[::1]/", "https://[::ffff:7f00:1]/"]
)
async def test_private_address_in_the_url_is_refused(url: str, no_sockets: list[Any]) -> None:
    async with open_session(Egress(), resolver=FixedResolver("127.0.0.1")) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await session.get(url)
    assert isinstance(caught.value.os_error, guard.AddressRefusedError)
    assert no_sockets == []


async def test_public_address_among_private_ones_is_connected_to(
    no_sockets: list[Any],
) -> None:
    resolver = FixedResolver("10.0.0.1", "8.8.8.8")
    async with open_session(Egress(), resolver=resolver) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get("https://v16.tiktok.com/")
    assert no_sockets


async def test_with_a_proxy_only_the_proxy_is_resolved(no_sockets: list[Any]) -> None:
    resolver = FixedResolver("10.0.0.1")
    async with open_session(Egress(proxy="http://proxy:3128"), resolver=resolver) as session:
        with pytest.raises(aiohttp.ClientProxyConnectionError):
            await session.get("https://v16.tiktok.com/")
    assert resolver.queries == ["proxy"]
    assert no_sockets


async def test_proxy_variables_and_cookies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with open_session(Egress()) as session:
        assert not session.trust_env
        assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
        assert not session.auto_decompress
        assert session.connector is not None
        assert session.connector.limit == CONNECTIONS
    assert session.closed


@pytest.mark.parametrize(
    "egress",
    [Egress(proxy="socks5://127.0.0.1:1080"), Egress(ca_file=Path("/nowhere/ca.pem"))],
    ids=["proxy", "roots"],
)
async def test_invalid_setting_is_a_config_error(egress: Egress) -> None:
    with pytest.raises(ClipmillError) as caught:
        async with open_session(egress):
            pass
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG
