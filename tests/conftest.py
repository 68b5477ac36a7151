"""The guard of all tests: whoever dials or resolves anything but loopback fails, and dials nobody.

It sees this process alone; what workers do is seen by the stand-in, whose proxy they use.
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

from streams.embedded.jars import default_cache_dir, ensure_jars

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

NO_BROKER = Path(__file__).parent / "unit"
"""Tests that never start Kafka, and so need none of its jars."""

DIALS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
NAMES_HOST = frozenset({"socket.getaddrinfo", "socket.gethostbyname"})
NAMES_ADDRESS = frozenset({"socket.gethostbyaddr", "socket.getnameinfo"})


class OutsideError(Exception):
    """A test wanted to reach something that is not this machine."""


class NetworkGuard:
    """Refuses and notes every event of the interpreter that leads off this machine.

    Attributes:
        armed: whether anything is refused.
        attempts: what was refused since the last `take`.
    """

    def __init__(self) -> None:
        self.armed = False
        self.attempts: list[str] = []

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """Judge an event; an audit hook.

        Raises:
            OutsideError: it leads outside.
        """
        if not self.armed or not event.startswith("socket."):
            return
        if (place := outside(event, args)) is not None:
            self.attempts.append(f"{event} {place}")
            raise OutsideError(f"tests stay on loopback, this one tried {event} {place}")

    def take(self) -> list[str]:
        """Return what was refused, and forget it."""
        taken, self.attempts = self.attempts, []
        return taken

    @contextmanager
    def disarmed(self) -> Iterator[None]:
        """Refuse nothing while the context lasts."""
        before, self.armed = self.armed, False
        try:
            yield
        finally:
            self.armed = before


def outside(event: str, args: tuple[Any, ...]) -> str | None:
    """Return the place that an event leads to when that is not this machine."""
    if event in NAMES_HOST:
        return None if _is_here(args[0]) or _is_number(args[0]) else str(args[0])
    if event in NAMES_ADDRESS:
        return None if _is_here(_host(args[0])) else str(args[0])
    if event in DIALS and args[0].family != socket.AF_UNIX and args[1] is not None:
        return None if _is_here(_host(args[1])) else str(args[1])
    return None


def _host(address: Any) -> Any:
    return address[0] if isinstance(address, tuple) else address


def _is_here(host: Any) -> bool:
    """Return whether a host is loopback; none at all means this machine as well."""
    text = host.decode() if isinstance(host, bytes) else host
    if text in {None, "", "localhost", socket.gethostname()}:
        return True
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def _is_number(host: Any) -> bool:
    """Return whether there is nothing to resolve."""
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host)
    except ValueError:
        return False
    return True


GUARD = NetworkGuard()
sys.addaudithook(GUARD.hear)


@pytest.fixture(scope="session", autouse=True)
def network_guard(request: pytest.FixtureRequest) -> Iterator[NetworkGuard]:
    """The guard, armed once Kafka's jars are there: they are all that comes from outside."""
    if any(NO_BROKER not in item.path.parents for item in request.session.items):
        ensure_jars(default_cache_dir())
    GUARD.armed = True
    yield GUARD
    GUARD.armed = False


@pytest.fixture(autouse=True)
def _stays_on_loopback(network_guard: NetworkGuard) -> Iterator[None]:
    yield
    if attempts := network_guard.take():
        pytest.fail("\n".join(["it tried to leave this machine:", *attempts]), pytrace=False)
