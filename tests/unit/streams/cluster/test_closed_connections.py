"""Writes to a lost connection, with the error of uvloop's real transport."""

import asyncio
from typing import Any

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError

from streams.cluster import closed_connections
from streams.cluster.connection import client_options
from streams.settings import KafkaSettings


class Connection:
    host, port = "127.0.0.1", 9092

    def __init__(self, writer: Any) -> None:
        self.writer = writer
        self.closed: list[CloseReason] = []

    def close(self, reason: CloseReason) -> None:
        self.closed.append(reason)


def write(connection: Connection, request: bytes) -> None:
    connection.writer.write(request)


def test_write_to_a_closed_transport_is_a_lost_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closed_connections, "_send", write)

    async def lose() -> None:
        serving = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        async with serving as server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.transport.abort()
            await asyncio.sleep(0.01)
            connection = Connection(writer)
            with pytest.raises(KafkaConnectionError, match="9092 is lost: unable to"):
                closed_connections.send(connection, b"request")
            assert connection.closed == [CloseReason.CONNECTION_BROKEN]

    uvloop.run(lose())


def test_other_error_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_connection: Connection, _request: bytes) -> None:
        raise RuntimeError("another")

    monkeypatch.setattr(closed_connections, "_send", fail)
    connection = Connection(None)
    with pytest.raises(RuntimeError, match="another"):
        closed_connections.send(connection, b"request")
    assert connection.closed == []


def test_all_clients_have_it() -> None:
    assert client_options(KafkaSettings())
    assert AIOKafkaConnection.send is closed_connections.send
