import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from streams.broker import state
from streams.broker.config import Ports
from streams.broker.state import (
    BrokerState,
    PortTakenError,
    StateError,
    is_free,
    load_or_create,
    new_kafka_uuid,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "broker.json"


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def test_second_start_keeps_the_state(file: Path) -> None:
    assert load_or_create(file, None) == load_or_create(file, None)


def test_chosen_ports_differ_and_are_outside_the_ephemeral_range(file: Path) -> None:
    ports = load_or_create(file, None).ports
    assert ports.broker != ports.controller
    assert {ports.broker, ports.controller} <= set(range(20_000, 32_768))


def test_saved_port_in_use_is_replaced(file: Path, used_port: int) -> None:
    first = load_or_create(file, None)
    changed = BrokerState(first.cluster_id, Ports(used_port, first.ports.controller))
    state.write_durably(file, msgspec.json.encode(changed))
    second = load_or_create(file, None)
    assert second.ports.broker != used_port
    assert second.ports.controller == first.ports.controller
    assert second.cluster_id == first.cluster_id
    assert load_or_create(file, None) == second


def test_fixed_port_is_used_and_saved(file: Path) -> None:
    port = unused_port()
    assert load_or_create(file, port).ports.broker == port
    assert load_or_create(file, None).ports.broker == port


def test_preferred_port_is_picked_if_free_and_kept(file: Path) -> None:
    port = unused_port()
    assert load_or_create(file, None, preferred_port=port).ports.broker == port
    assert load_or_create(file, None, preferred_port=unused_port()).ports.broker == port


def test_preferred_port_in_use_is_not_picked(file: Path, used_port: int) -> None:
    assert load_or_create(file, None, preferred_port=used_port).ports.broker != used_port


def test_fixed_port_replaces_the_saved_one(file: Path) -> None:
    first = load_or_create(file, None)
    second = load_or_create(file, port := unused_port())
    assert second.ports == Ports(port, first.ports.controller)


def test_fixed_port_may_be_the_previous_controller_port(file: Path) -> None:
    controller = load_or_create(file, None).ports.controller
    ports = load_or_create(file, controller).ports
    assert ports.broker == controller
    assert ports.controller != controller


def test_fixed_port_in_use_raises(file: Path, used_port: int) -> None:
    with pytest.raises(PortTakenError, match=f"port {used_port} on 127.0.0.1 is in use"):
        load_or_create(file, used_port)
    assert not file.exists()


def test_forbidden_port_raises_with_the_reason(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bind_error = PermissionError(13, "Permission denied")
    monkeypatch.setattr(state, "_bind_error", lambda _: bind_error)
    with pytest.raises(PortTakenError, match=r"port 80 .* refused \(Permission denied\)"):
        load_or_create(file, 80)


def test_no_free_port_raises(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "is_free", lambda _: False)
    with pytest.raises(PortTakenError, match="give the broker a port"):
        load_or_create(file, None)


def test_port_with_a_connection_in_time_wait_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        served, _ = server.accept()
        # The side that closes first enters TIME_WAIT.
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
def test_corrupt_state_file_raises(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(StateError, match=r"broker\.json is damaged .* Delete it"):
        load_or_create(file, None)


def test_cluster_ids_are_unique_and_in_kafka_s_format() -> None:
    ids = {new_kafka_uuid() for _ in range(500)}
    assert len(ids) == 500
    assert all(len(one) == 22 and not one.startswith("-") for one in ids)
