import socket
import subprocess
import sys
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st

from agents.network.egress import ProxyAddress
from agents.network.guard import (
    AddressGuard,
    AddressInfo,
    AddressRefusedError,
    GuardedResolver,
    connect_check,
    is_public,
)

PUBLIC = [
    "8.8.8.8",
    "142.250.1.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "2002:808:808::1",
    "64:ff9b::808:808",
]
PRIVATE = [
    "127.0.0.1",
    "127.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.1.1.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
    "2001:db8::1",
    "2001::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "2002:7f00:1::1",
    "2002:a00:1::1",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::808:808",
    "localhost",
    "",
    "<broadcast>",
    "2130706433",
    "0x7f.1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", PRIVATE)
def test_other_addresses_are_not_public(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4, network="10.0.0.0/8") | st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_embedded_private_address_is_not_public(address: Any) -> None:
    high, low = divmod(int(address), 1 << 16)
    for form in ("{0}", "::ffff:{0}", "64:ff9b::{1:x}:{2:x}", "2002:{1:x}:{2:x}::1"):
        assert not is_public(form.format(address, high, low))


@given(st.text(max_size=50))
def test_free_text_never_raises(text: str) -> None:
    assert is_public(text) in {True, False}


def info(host: str, port: int = 443) -> AddressInfo:
    if ":" in host:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))


PROXY = ProxyAddress("127.0.0.1", 3128)


@pytest.mark.parametrize(
    ("proxy", "host", "port", "opened"),
    [
        (None, "8.8.8.8", 443, True),
        (None, "2606:4700::1111", 443, True),
        (None, "10.0.0.1", 443, False),
        (None, "127.0.0.1", 3128, False),
        (PROXY, "127.0.0.1", 3128, True),
        (PROXY, "127.0.0.1", 3129, False),
        (PROXY, "127.0.0.2", 3128, False),
        (PROXY, "8.8.8.8", 443, True),
        (ProxyAddress("::1", 3128), "::1", 3128, True),
        (ProxyAddress("proxy", 3128), "10.0.0.1", 3128, False),
    ],
)
def test_sockets_are_opened_for_permitted_addresses_only(
    proxy: ProxyAddress | None, host: str, port: int, *, opened: bool
) -> None:
    guard = AddressGuard(proxy)
    if not opened:
        with pytest.raises(AddressRefusedError):
            guard.open_socket(info(host, port))
        return
    with guard.open_socket(info(host, port)) as made:
        assert made.family == info(host)[0]


class TableResolver(AbstractResolver):
    """Resolves names from a table."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = addresses
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self.addresses[host]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
        ]

    async def close(self) -> None:
        self.closed = True


async def test_resolved_address_of_the_proxy_is_permitted() -> None:
    guard = AddressGuard(ProxyAddress("proxy", 3128))
    resolver = GuardedResolver(guard, TableResolver(Proxy="10.0.0.1", other="10.0.0.2"))
    await resolver.resolve("Proxy", 3128)
    await resolver.resolve("other", 3128)
    guard.open_socket(info("10.0.0.1", 3128)).close()
    for host, port in (("10.0.0.2", 3128), ("10.0.0.1", 443)):
        with pytest.raises(AddressRefusedError):
            guard.open_socket(info(host, port))


async def test_resolved_address_is_not_permitted_without_a_proxy() -> None:
    guard = AddressGuard(None)
    inner = TableResolver(proxy="10.0.0.1")
    resolver = GuardedResolver(guard, inner)
    await resolver.resolve("proxy", 3128)
    with pytest.raises(AddressRefusedError):
        guard.open_socket(info("10.0.0.1", 3128))
    await resolver.close()
    assert inner.closed


@pytest.mark.parametrize(
    ("family", "address", "permitted"),
    [
        (socket.AF_INET, ("8.8.8.8", 443), True),
        (socket.AF_INET, ("10.0.0.1", 443), False),
        (socket.AF_INET, ("127.0.0.1", 3128), True),
        (socket.AF_INET, ("127.0.0.1", 3129), False),
        (socket.AF_INET, ("localhost", 443), False),
        (socket.AF_INET6, ("::1", 3128, 0, 0), False),
        (socket.AF_UNIX, "/run/x", True),
        (socket.AF_UNIX, b"\0abstract", True),
    ],
)
def test_connect_check_permits_public_addresses_and_the_proxy(
    family: socket.AddressFamily, address: Any, *, permitted: bool
) -> None:
    with socket.socket(family) as connecting:
        assert connect_check(PROXY)(connecting, address) is permitted


def test_connect_check_resolves_the_name_of_the_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [info("10.0.0.9", 3128), info("10.0.0.8", 3128)]
    )
    permits = connect_check(ProxyAddress("proxy", 3128))
    with socket.socket() as connecting:
        assert permits(connecting, ("10.0.0.8", 3128))
        assert not permits(connecting, ("10.0.0.7", 3128))
        assert not permits(connecting, ("10.0.0.8", 443))


def test_unresolvable_proxy_is_not_permitted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", fails)
    with socket.socket() as connecting:
        assert not connect_check(ProxyAddress("proxy", 3128))(connecting, ("10.0.0.8", 3128))


GUARDED = """
import socket, sys
from agents.network.guard import AddressRefusedError, install_connect_guard

install_connect_guard(sys.argv[1])
outcomes = []
for port in sys.argv[2:]:
    try:
        socket.create_connection(("127.0.0.1", int(port))).close()
        outcomes.append("open")
    except AddressRefusedError as error:
        outcomes.append(error.strerror)
print(*outcomes, sep="\\n")
"""


def test_installed_guard_refuses_loopback_except_the_proxy() -> None:
    # An audit hook cannot be removed, hence a process of its own.
    with (
        socket.create_server(("127.0.0.1", 0)) as proxy,
        socket.create_server(("127.0.0.1", 0)) as other,
    ):
        ports = [str(each.getsockname()[1]) for each in (proxy, other)]
        ran = subprocess.run(
            [sys.executable, "-c", GUARDED, f"http://127.0.0.1:{ports[0]}", *ports],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
        )
    assert ran.stdout.splitlines() == ["open", "its address is not public"]


def test_each_of_several_proxies_is_permitted_with_its_own_port() -> None:
    permits = connect_check(None, ProxyAddress("127.0.0.1", 1), ProxyAddress("10.0.0.1", 2))
    with socket.socket() as connecting:
        assert permits(connecting, ("127.0.0.1", 1))
        assert permits(connecting, ("10.0.0.1", 2))
        assert not permits(connecting, ("127.0.0.1", 2))
        assert not permits(connecting, ("10.0.0.1", 1))
