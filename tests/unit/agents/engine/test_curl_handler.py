import socket
from collections.abc import Iterator
from typing import Any

import pytest
from curl_cffi import Curl
from curl_cffi.const import CurlECode, CurlOpt
from curl_cffi.curl import CurlError

from agents.engine.curl_handler import CurlGuard, parse_socket_address
from agents.network.egress import ProxyAddress
from agents.network.guard import connect_check
from tests.unit.agents.engine.web import Web, serving

IPV6_LOOPBACK = bytes(15) + b"\x01"


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as server:
        yield server


def perform(guard: CurlGuard, url: str, **options: Any) -> int:
    """Fetch the URL with a bare libcurl handle; return its error code."""
    curl = Curl()
    guard.attach(curl)
    curl.setopt(CurlOpt.URL, url)
    curl.setopt(CurlOpt.PROXY, "")
    curl.setopt(CurlOpt.FOLLOWLOCATION, 1)
    for name, value in options.items():
        curl.setopt(CurlOpt[name], value)
    try:
        curl.perform()
    except CurlError as error:
        return int(error.code)
    finally:
        curl.close()
    return 0


def test_permitted_address_is_connected_to(web: Web) -> None:
    seen: list[Any] = []

    def permits(_socket: socket.socket, address: Any) -> bool:
        seen.append(address)
        return True

    guard = CurlGuard(permits)
    assert perform(guard, f"{web.url}/page") == 0
    assert seen == [web.server_address]
    assert not guard.refused


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_is_refused_by_any_name(web: Web, host: str) -> None:
    guard = CurlGuard(connect_check(None))
    url = f"http://{host}:{web.server_address[1]}/page"
    assert perform(guard, url) == CurlECode.COULDNT_CONNECT
    assert guard.refused
    assert web.connections == 0


def test_redirect_to_loopback_is_refused(web: Web) -> None:
    with serving() as inside:
        guard = CurlGuard(connect_check(ProxyAddress("127.0.0.1", web.server_address[1])))
        code = perform(guard, f"{web.url}/to?url={inside.url}/page")
        assert code == CurlECode.COULDNT_CONNECT
        assert guard.refused
        assert (web.connections, inside.connections) == (1, 0)


def test_error_in_the_check_refuses_the_connection(web: Web) -> None:
    def broken(_socket: socket.socket, _address: Any) -> bool:
        raise RuntimeError

    guard = CurlGuard(broken)
    assert perform(guard, f"{web.url}/page") == CurlECode.COULDNT_CONNECT
    assert guard.refused


def test_refused_connection_leaves_no_open_socket(web: Web) -> None:
    opened: list[socket.socket] = []

    def refuses(connecting: socket.socket, _address: Any) -> bool:
        opened.append(connecting)
        return False

    guard = CurlGuard(refuses)
    perform(guard, f"{web.url}/page")
    assert [connecting.fileno() for connecting in opened] == [-1]


@pytest.mark.parametrize(
    ("family", "data", "expected"),
    [
        (socket.AF_INET, b"\x02\x00\x00\x50\x7f\x00\x00\x01" + bytes(8), ("127.0.0.1", 80)),
        (socket.AF_INET6, b"\x0a\x00\x01\xbb" + bytes(4) + IPV6_LOOPBACK + bytes(4), ("::1", 443)),
    ],
    ids=["IPv4", "IPv6"],
)
def test_socket_address_is_parsed(family: int, data: bytes, expected: tuple[str, int]) -> None:
    assert parse_socket_address(family, data) == expected


@pytest.mark.parametrize(
    ("family", "data"),
    [(socket.AF_UNIX, b"\x01\x00/tmp/x"), (socket.AF_INET, b"\x02\x00"), (socket.AF_INET6, b"")],
)
def test_unsupported_address_is_rejected(family: int, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"family|invalid"):
        parse_socket_address(family, data)
