"""Network guard of all tests: connecting to or resolving anything but loopback fails the test.

The connection is prevented. The guard sees this process alone; the stand-in counts the connections
of workers, which use it as their proxy.
"""

import ipaddress
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from streams.broker.jars import default_cache_dir, ensure_jars

# The duration of an example depends on the load of the machine: tests failed because their input
# was generated slowly. The same examples in every run: a rare one shall not fail the change of
# somebody else; `make fuzz` looks for those.
settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "fuzz", settings.get_profile("tests"), derandomize=False, max_examples=1_000
)
settings.load_profile("tests")

UNIT_TESTS = Path(__file__).parent / "unit"
"""Tests that never start Kafka, and therefore need none of its jars."""

CONNECT_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
RESOLVE_EVENTS = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
REVERSE_LOOKUP_EVENTS = frozenset({"socket.gethostbyaddr", "socket.getnameinfo"})


class OutsideError(Exception):
    """A test tried to reach a host other than this machine."""


class NetworkGuard:
    """Blocks and records every audit event that addresses a host other than this machine.

    Attributes:
        armed: whether events are blocked.
        attempts: events blocked since the last `take`.
    """

    def __init__(self) -> None:
        self.armed = False
        self.attempts: list[str] = []

    def check_event(self, event: str, args: tuple[Any, ...]) -> None:
        """Check an event; an audit hook.

        Raises:
            OutsideError: the event addresses another host.
        """
        if not self.armed or not event.startswith("socket."):
            return
        if (address := outside_address(event, args)) is not None:
            self.attempts.append(f"{event} {address}")
            raise OutsideError(f"tests stay on loopback, this one tried {event} {address}")

    def take(self) -> list[str]:
        """Return the blocked events and clear them."""
        taken, self.attempts = self.attempts, []
        return taken

    @contextmanager
    def disarmed(self) -> Iterator[None]:
        previous, self.armed = self.armed, False
        try:
            yield
        finally:
            self.armed = previous


def outside_address(event: str, args: tuple[Any, ...]) -> str | None:
    """Return the address of an event, None when it is this machine."""
    if event in RESOLVE_EVENTS:
        return None if _is_this_machine(args[0]) or _is_ip_address(args[0]) else str(args[0])
    if event in REVERSE_LOOKUP_EVENTS:
        return None if _is_this_machine(_host(args[0])) else str(args[0])
    if event in CONNECT_EVENTS and args[0].family != socket.AF_UNIX and args[1] is not None:
        return None if _is_this_machine(_host(args[1])) else str(args[1])
    return None


def _host(address: Any) -> Any:
    return address[0] if isinstance(address, tuple) else address


def _is_this_machine(host: Any) -> bool:
    """Return whether a host is loopback; an empty host means this machine as well."""
    text = host.decode() if isinstance(host, bytes) else host
    if text in {None, "", "localhost", socket.gethostname()}:
        return True
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _is_ip_address(host: Any) -> bool:
    """Return whether a host is an IP address, which needs no resolution."""
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        return False
    return True


GUARD = NetworkGuard()
sys.addaudithook(GUARD.check_event)


@pytest.fixture(scope="session", autouse=True)
def network_guard(request: pytest.FixtureRequest) -> Iterator[NetworkGuard]:
    """The guard, armed once Kafka's jars are there: their download is the only one."""
    if any(UNIT_TESTS not in item.path.parents for item in request.session.items):
        ensure_jars(default_cache_dir())
    GUARD.armed = True
    yield GUARD
    GUARD.armed = False


@pytest.fixture(autouse=True)
def _stays_on_loopback(network_guard: NetworkGuard) -> Iterator[None]:
    yield
    if attempts := network_guard.take():
        pytest.fail("\n".join(["it tried to leave this machine:", *attempts]), pytrace=False)
