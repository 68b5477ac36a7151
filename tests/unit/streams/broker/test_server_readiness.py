import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine

import pytest

from streams.broker import server as server_module
from streams.broker.server import is_ready

ConnectionHandler = Callable[
    [asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]
]


async def close_at_once(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def respond_with_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def never_respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_closed_port_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with caplog.at_level(logging.DEBUG, "aiokafka"):
        assert not await is_ready(port, "id")
    assert not caplog.records


@pytest.mark.parametrize("handler", [close_at_once, respond_with_http, never_respond])
async def test_foreign_server_is_not_ready(
    handler: ConnectionHandler, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "_PROBE_MILLISECONDS", 200)
    connections: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.ensure_future(handler(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        assert not await is_ready(server.sockets[0].getsockname()[1], "id")
        await asyncio.gather(*connections)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
