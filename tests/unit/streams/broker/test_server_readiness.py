import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine

import pytest

from streams.broker import server as server_module
from streams.broker.server import answers

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[None, None, None]]


async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def talk_nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with caplog.at_level(logging.DEBUG, "aiokafka"):
        assert not await answers(port, "id")
    assert not caplog.records


@pytest.mark.parametrize("talk", [hang_up, talk_nonsense, say_nothing])
async def test_something_else_listens(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(server_module, "_ANSWER_MILLISECONDS", 200)
    talks: list[asyncio.Task[None]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.ensure_future(talk(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        assert not await answers(server.sockets[0].getsockname()[1], "id")
        await asyncio.gather(*talks)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
