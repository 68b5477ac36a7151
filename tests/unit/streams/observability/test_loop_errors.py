import asyncio
import logging
from typing import Any

import pytest
import uvloop

from streams.observability.loop_errors import handle_loop_error

WRAPPED = {"message": "Fatal error on SSL protocol", "protocol": None, "transport": None}


async def error_of_a_write_to_a_closed_connection() -> RuntimeError:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.transport.abort()
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError) as raised:
            writer.transport.write(b"x")
    return raised.value


def handle(context: dict[str, Any]) -> None:
    loop = uvloop.new_event_loop()
    try:
        loop.set_exception_handler(handle_loop_error)
        loop.call_exception_handler(context)
    finally:
        loop.close()


def test_write_to_a_lost_connection_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    error = uvloop.run(error_of_a_write_to_a_closed_connection())
    with caplog.at_level(logging.DEBUG):
        handle(WRAPPED | {"exception": error})
    (record,) = caplog.records
    assert (record.levelno, record.exc_info) == (logging.DEBUG, None)
    assert "closed=True" in record.getMessage()


@pytest.mark.parametrize(
    "context",
    [
        WRAPPED | {"exception": RuntimeError("another")},
        WRAPPED | {"exception": ValueError("the handler is closed")},
        {"message": "a callback failed", "exception": RuntimeError("the handler is closed")},
        {"message": "a message alone"},
    ],
)
def test_other_errors_are_logged_as_before(
    context: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    handle(context)
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "asyncio")
