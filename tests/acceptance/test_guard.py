"""The network guard of the tests' own process. No test connects: audit events are simulated."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import GUARD, NetworkGuard, OutsideError

ROOT = Path(__file__).parents[2]

INET = 2
INET6 = 10
UNIX = 1


class Socket:
    """The part of a socket that the guard reads."""

    def __init__(self, family: int) -> None:
        self.family = family


OUTSIDE = {
    "a public address": ("socket.connect", (Socket(INET), ("192.0.2.1", 443))),
    "a private address": ("socket.connect", (Socket(INET), ("10.0.0.1", 80))),
    "the metadata service": ("socket.connect", (Socket(INET), ("169.254.169.254", 80))),
    "a name": ("socket.connect", (Socket(INET), ("www.tiktok.com", 443))),
    "an IPv6 address": ("socket.connect", (Socket(INET6), ("2001:db8::1", 443, 0, 0))),
    "a datagram": ("socket.sendto", (Socket(INET), ("192.0.2.1", 53))),
    "a message": ("socket.sendmsg", (Socket(INET), ("192.0.2.1", 53))),
    "resolving": ("socket.getaddrinfo", ("www.tiktok.com", 443, 0, 0, 0)),
    "resolving bytes": ("socket.getaddrinfo", (b"www.tiktok.com", 443, 0, 0, 0)),
    "resolving with gethostbyname": ("socket.gethostbyname", ("www.tiktok.com",)),
    "resolving backwards": ("socket.gethostbyaddr", ("192.0.2.1",)),
    "naming": ("socket.getnameinfo", (("192.0.2.1", 443),)),
}
INSIDE = {
    "loopback": ("socket.connect", (Socket(INET), ("127.0.0.1", 9092))),
    "all of loopback": ("socket.connect", (Socket(INET), ("127.8.9.1", 9092))),
    "IPv6 loopback": ("socket.connect", (Socket(INET6), ("::1", 9092, 0, 0))),
    "its name": ("socket.connect", (Socket(INET), ("localhost", 9092))),
    "a file": ("socket.connect", (Socket(UNIX), "/run/some.socket")),
    "a connected datagram": ("socket.sendmsg", (Socket(INET), None)),
    "resolving its name": ("socket.getaddrinfo", ("localhost", 80, 0, 0, 0)),
    "resolving no host": ("socket.getaddrinfo", (None, 80, 0, 0, 0)),
    "an IP address, not resolved": ("socket.getaddrinfo", ("192.0.2.1", 80, 0, 0, 0)),
    "another event": ("open", ("/etc/hosts", "r", 0)),
}


@pytest.fixture
def guard() -> NetworkGuard:
    guard = NetworkGuard()
    guard.armed = True
    return guard


@pytest.mark.parametrize("name", OUTSIDE)
def test_outside_address_is_blocked_and_recorded(name: str, guard: NetworkGuard) -> None:
    event, args = OUTSIDE[name]
    with pytest.raises(OutsideError, match=event):
        guard.check_event(event, args)
    assert len(guard.take()) == 1
    assert guard.take() == []


@pytest.mark.parametrize("name", INSIDE)
def test_loopback_event_passes(name: str, guard: NetworkGuard) -> None:
    guard.check_event(*INSIDE[name])
    assert guard.take() == []


def test_disarmed_guard_blocks_nothing(guard: NetworkGuard) -> None:
    with guard.disarmed():
        guard.check_event(*OUTSIDE["a name"])
    with pytest.raises(OutsideError):
        guard.check_event(*OUTSIDE["a name"])


def test_installed_guard_receives_audit_events_of_this_process() -> None:
    with pytest.raises(OutsideError, match=r"www\.tiktok\.com"):
        sys.audit("socket.getaddrinfo", "www.tiktok.com", 443, 0, 0, 0)
    assert GUARD.take() == ["socket.getaddrinfo www.tiktok.com"]


CONNECTING_TESTS = """
import contextlib
import sys

def test_that_hides_it():
    with contextlib.suppress(Exception):
        sys.audit("socket.gethostbyname", "www.tiktok.com")

def test_that_does_nothing():
    pass
"""


def test_blocked_attempt_fails_the_test_even_when_it_is_suppressed(tmp_path: Path) -> None:
    file = tmp_path / "unit" / "test_connecting.py"
    file.parent.mkdir()
    file.write_text(CONNECTING_TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-q", "--rootdir"]
    found = subprocess.run(
        [*command, str(tmp_path), "-p", "no:cacheprovider", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "2 passed, 1 error" in found.stdout, found.stdout + found.stderr
    assert "socket.gethostbyname www.tiktok.com" in found.stdout
