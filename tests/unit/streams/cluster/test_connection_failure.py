import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from streams.cluster import connection_failure as module
from streams.cluster.connection import client_options
from streams.cluster.connection_failure import find_failure
from streams.settings import KafkaSettings


async def failure(bootstrap: str) -> str | None:
    found = await find_failure(bootstrap, client_options(KafkaSettings(bootstrap=bootstrap)))
    return found.text if found else None


@pytest_asyncio.fixture
async def closing_server() -> AsyncIterator[str]:
    """Address of a server that closes every connection."""

    async def close_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(close_connection, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest_asyncio.fixture
async def silent_server() -> AsyncIterator[str]:
    """Address of a server that never responds."""
    done = asyncio.Event()

    async def never_respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(never_respond, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done.set()


async def test_closed_connection_is_reported_unlike_an_unavailable_server(
    closing_server: str,
) -> None:
    message = await failure(closing_server)
    assert message is not None
    assert message.startswith(f"{closing_server} closes the connection")


async def test_silent_server_fails_after_the_timeout(
    silent_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    message = await failure(silent_server)
    assert message is not None
    assert f"no broker answers at {silent_server}: no response within 0.2 s" in message


async def test_unresolvable_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("aiokafka.conn.AIOKafkaConnection.connect", connect)
    message = await failure("nowhere.invalid:9092")
    assert message is not None
    assert (
        "nowhere.invalid:9092: the name cannot be resolved (Name or service not known)" in message
    )


async def test_each_address_is_reported_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    message = await failure(f"{address},{address}")
    assert message is not None
    assert message.count(f"no broker answers at {address}: the connection was refused") == 1
