import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.broker import state
from streams.broker.config import Ports
from streams.broker.state import (
    BrokerState,
    PortTakenError,
    StateError,
    is_free,
    new_cluster_id,
    settle,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "broker.json"


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_a_second_start_keeps_everything(file: Path) -> None:
    assert settle(file, None) == settle(file, None)


def test_picked_ports_are_two_and_outside_the_range_of_outgoing_connections(file: Path) -> None:
    ports = settle(file, None).ports
    assert ports.broker != ports.controller
    assert {ports.broker, ports.controller} <= set(range(20_000, 32_768))


def test_a_remembered_port_that_is_taken_is_replaced(file: Path, taken: int) -> None:
    first = settle(file, None)
    state._save(file, BrokerState(first.cluster_id, Ports(taken, first.ports.controller)))
    second = settle(file, None)
    assert second.ports.broker != taken
    assert second.ports.controller == first.ports.controller
    assert second.cluster_id == first.cluster_id
    assert settle(file, None) == second


def test_a_fixed_port_is_taken_and_remembered(file: Path) -> None:
    port = unused_port()
    assert settle(file, port).ports.broker == port
    assert settle(file, None).ports.broker == port


def test_a_fixed_port_replaces_the_remembered_one(file: Path) -> None:
    first = settle(file, None)
    second = settle(file, port := unused_port())
    assert second.ports == Ports(port, first.ports.controller)


def test_a_fixed_port_may_be_the_old_controllers(file: Path) -> None:
    controller = settle(file, None).ports.controller
    ports = settle(file, controller).ports
    assert ports.broker == controller
    assert ports.controller != controller


def test_a_fixed_port_in_use_is_named(file: Path, taken: int) -> None:
    with pytest.raises(PortTakenError, match=f"port {taken} on 127.0.0.1 is in use"):
        settle(file, taken)
    assert not file.exists()


def test_a_port_that_is_not_allowed_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = PermissionError(13, "Permission denied")
    monkeypatch.setattr(state, "_bind_error", lambda _: refusal)
    with pytest.raises(PortTakenError, match=r"port 80 .* refused \(Permission denied\)"):
        settle(file, 80)


def test_no_free_port_at_all(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "is_free", lambda _: False)
    with pytest.raises(PortTakenError, match="give the broker a port"):
        settle(file, None)


def test_a_connection_that_fades_away_does_not_take_the_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = server.accept()
        # The end that closes first waits in TIME_WAIT.
        served.close()
        client.close()
    assert is_free(port)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b'{"cluster_id": "x"}', id="no ports"),
        pytest.param(b'{"cluster_id": "x", "ports": {"broker": "a", "controller": 1}}', id="text"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
    ],
)
def test_a_damaged_file_is_named(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(StateError, match=r"broker\.json is damaged .* Delete it"):
        settle(file, None)


def test_cluster_ids_have_kafkas_form_and_differ() -> None:
    ids = {new_cluster_id() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(one) == 22 and not one.startswith("-") for one in ids)
