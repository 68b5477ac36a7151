import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop

from streams.observability import event_loop as module
from streams.observability.event_loop import (
    SAMPLE_SECONDS,
    handle_loop_error,
    measure_loop_delay,
)
from streams.observability.metrics import REGISTRY


class FakeLoop:
    """Fake clock and sleep with given durations."""

    def __init__(self, *sleeps: float) -> None:
        self.now = 0.0
        self.sleeps = list(sleeps)

    def perf_counter(self) -> float:
        return self.now

    async def sleep(self, _seconds: float) -> None:
        if not self.sleeps:
            raise asyncio.CancelledError
        self.now += self.sleeps.pop(0)


def observed() -> list[float]:
    """Return the number of observations, their sum, and the number of at most a millisecond."""
    name, labels = "clipmill_event_loop_delay_seconds", {"thread": "main"}
    return [
        REGISTRY.get_sample_value(f"{name}_count", labels) or 0.0,
        REGISTRY.get_sample_value(f"{name}_sum", labels) or 0.0,
        REGISTRY.get_sample_value(f"{name}_bucket", labels | {"le": "0.001"}) or 0.0,
    ]


async def test_delay_of_each_timer_is_observed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = FakeLoop(SAMPLE_SECONDS, SAMPLE_SECONDS + 2, SAMPLE_SECONDS - 0.001)
    monkeypatch.setattr(module, "time", loop)
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=loop.sleep))
    before = observed()
    with pytest.raises(asyncio.CancelledError):
        await measure_loop_delay()
    assert [after - first for after, first in zip(observed(), before, strict=True)] == [
        3,
        pytest.approx(2),
        2,
    ]


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
