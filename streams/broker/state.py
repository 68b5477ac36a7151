"""Persistent state of the embedded broker in its data directory: cluster id and ports."""

import base64
import errno
import os
import random
import socket
import uuid
from pathlib import Path

import msgspec

from streams.broker.config import Ports
from streams.errors import OperatorError

LOOPBACK = "127.0.0.1"
# Below Linux' ephemeral ports (net.ipv4.ip_local_port_range starts at 32768): while the broker is
# down, no outgoing connection, not even one to the broker itself, can be assigned its port.
_PICKED_PORTS = range(20_000, 32_000)
_ATTEMPTS = 200


class PortTakenError(OperatorError):
    """The port for the broker is in use or not allowed."""


class StateError(OperatorError):
    """The file with the broker's cluster id and ports cannot be read."""


class BrokerState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identity of a data directory. `cluster_id` is Kafka's: 22 characters of base64."""

    cluster_id: str
    ports: Ports


def load_or_create(
    path: Path, fixed_port: int | None, *, preferred_port: int | None = None
) -> BrokerState:
    """Load the state of the last start, replace ports in use, and save it.

    Ports are kept while they are free. A fixed port is never replaced; a preferred one is the first
    choice for the broker.

    Raises:
        PortTakenError: the fixed port is in use.
        StateError: the file is damaged.
    """
    last = _load(path)
    state = BrokerState(
        cluster_id=last.cluster_id if last else new_kafka_uuid(),
        ports=_choose_ports(last.ports if last else None, fixed_port, preferred_port),
    )
    if state != last:
        write_durably(path, msgspec.json.encode(state))
    return state


def _load(path: Path) -> BrokerState | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=BrokerState)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise StateError(
            f"{path} is damaged ({error}). Delete it: the broker then picks new ports and keeps"
            " its data."
        ) from error


def write_durably(path: Path, content: bytes) -> None:
    """Write a file in one step that survives a power failure; brokers may share its folder."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def new_kafka_uuid() -> str:
    """Generate a random id as Kafka writes them; a leading dash would parse as an option."""
    encoded = base64.urlsafe_b64encode(uuid.uuid4().bytes)[:22].decode()
    return encoded if not encoded.startswith("-") else new_kafka_uuid()


def _choose_ports(last: Ports | None, fixed: int | None, preferred: int | None) -> Ports:
    if fixed is not None:
        _require_free(fixed)
    broker = fixed or _pick(last.broker if last else None, preferred, avoid=None)
    return Ports(broker, _pick(last.controller if last else None, avoid=broker))


def _pick(*preferred: int | None, avoid: int | None) -> int:
    """Return the first of the preferred ports that is free, else a random free one."""
    for port in (*filter(None, preferred), *random.sample(_PICKED_PORTS, _ATTEMPTS)):
        if port != avoid and is_free(port):
            return port
    raise PortTakenError(
        f"none of {_ATTEMPTS} ports between {_PICKED_PORTS.start} and {_PICKED_PORTS.stop} is free"
        f" on {LOOPBACK}; give the broker a port"
    )


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port of 127.0.0.1 now."""
    return _bind_error(port) is None


def _require_free(port: int) -> None:
    error = _bind_error(port)
    if error is None:
        return
    why = "in use" if error.errno == errno.EADDRINUSE else f"refused ({error.strerror})"
    raise PortTakenError(
        f"port {port} on {LOOPBACK} is {why}: stop the program that listens there, or give the"
        " broker another port"
    )


def _bind_error(port: int) -> OSError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As Java does: connections of the last broker in TIME_WAIT do not block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None
