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
async def hanging_up() -> AsyncIterator[str]:
    """A server that is no broker: it closes every connection."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[str]:
    """A server that never answers."""
    done = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done.set()


async def test_a_server_that_hangs_up_is_told_from_one_that_is_away(hanging_up: str) -> None:
    said = await failure(hanging_up)
    assert said is not None
    assert said.startswith(f"{hanging_up} closes the connection")


async def test_a_server_that_says_nothing_is_not_waited_for_long(
    silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.2)
    said = await failure(silent)
    assert said is not None
    assert f"no broker answers at {silent}: nothing came within 0.2 s" in said


async def test_a_name_that_cannot_be_resolved_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect(_: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr("aiokafka.conn.AIOKafkaConnection.connect", connect)
    said = await failure("nowhere.invalid:9092")
    assert said is not None
    assert "nowhere.invalid:9092: the name cannot be resolved (Name or service not known)" in said


async def test_each_address_is_named_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}"
    said = await failure(f"{place},{place}")
    assert said is not None
    assert said.count(f"no broker answers at {place}: the connection was refused") == 1
