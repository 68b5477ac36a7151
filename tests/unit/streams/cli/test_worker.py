"""Running stages until a signal, with a fake worker."""

import asyncio
import os
import signal
import socket
from typing import Any

import aiohttp
import pytest

from streams.cli import worker as module
from streams.cli.errors import stop_signal
from streams.cli.worker import run_stages
from streams.observability.health import Health
from streams.observability.http_server import AddressError
from streams.settings import Settings
from streams.stage import Stage
from streams.topics import REQUESTS

pytestmark = pytest.mark.usefixtures("own_settings")

STAGE = Stage("toy", (REQUESTS,), open=lambda _: NotImplemented, on_bug=lambda *_: ())


class FakeWorker:
    """Worker with a given problem and error; not ready at first."""

    instance: "FakeWorker"

    def __init__(self, _stages: Any, _settings: Settings, health: Health) -> None:
        FakeWorker.instance = self
        self.problem: str | None = "waits"
        self.error: Exception | None = None
        self.cancelled = False
        health.set_check("toy", lambda: self.problem)

    async def run(self) -> None:
        try:
            while self.error is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        raise self.error


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(module, "Worker", FakeWorker)
    return []


def start(announced: list[str]) -> asyncio.Task[None]:
    settings = Settings(http="127.0.0.1:0")
    return asyncio.create_task(run_stages([STAGE], settings, announced.append))


async def until_announced(announced: list[str]) -> None:
    async with asyncio.timeout(5):
        while not announced:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_the_worker(announced: list[str], number: int) -> None:
    task = start(announced)
    await asyncio.sleep(0.2)
    assert announced == [], "not ready, so nothing is announced"
    FakeWorker.instance.problem = None
    await until_announced(announced)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{announced[0]}/health/ready") as response,
    ):
        assert response.status == 200
    os.kill(os.getpid(), number)
    await asyncio.wait_for(task, 5)
    assert FakeWorker.instance.cancelled
    assert len(announced) == 1


async def test_default_port_in_use_falls_back_but_a_configured_one_raises(
    announced: list[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"

        class DefaultPortInUse(Settings):
            http: str = address

        with pytest.raises(AddressError, match=f"cannot listen on {address}"):
            await run_stages([STAGE], Settings(http=address), announced.append)
        task = asyncio.create_task(run_stages([STAGE], DefaultPortInUse(), announced.append))
        await asyncio.sleep(0.1)
        FakeWorker.instance.problem = None
        await until_announced(announced)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert announced[0].startswith("http://127.0.0.1:")
    assert announced != [f"http://{address}"]


async def test_signal_before_readiness_stops_the_worker(announced: list[str]) -> None:
    task = start(announced)
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)
    assert announced == []


async def test_worker_failure_ends_the_run(announced: list[str]) -> None:
    task = start(announced)
    await asyncio.sleep(0.1)
    FakeWorker.instance.error = AddressError("bad")
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(task, 5)
    assert caught.group_contains(AddressError)


async def test_cancellation_stops_the_worker(announced: list[str]) -> None:
    task = start(announced)
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert FakeWorker.instance.cancelled


async def test_real_worker_is_not_announced_before_its_stages_are_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def require(_monitor: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("streams.runtime.worker.AccessMonitor.require", require)
    announced: list[str] = []
    task = start(announced)
    await asyncio.sleep(0.3)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 5)
    assert announced == []


async def test_signal_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with stop_signal() as stopped:
        assert not stopped.is_set()
    assert signal.getsignal(signal.SIGTERM) == before
