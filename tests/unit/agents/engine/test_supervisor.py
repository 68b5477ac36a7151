import asyncio
from collections.abc import Awaitable, Callable

import certifi
import pytest

from agents.engine.protocol import JobFinished, Setup
from agents.engine.supervisor import EngineStartError, start_worker
from tests.unit.agents.engine.fake_fork_server import FakeForkServer
from tests.unit.agents.engine.processes import until

SETUP = Setup(
    threads=2,
    page_bytes_max=1,
    request_timeout_seconds=1,
    memory_bytes_max=1,
    proxies={"direct": None},
    ca_file=certifi.where(),
)


async def test_process_that_cannot_be_forked_is_a_start_error() -> None:
    forks = FakeForkServer()
    forks.can_fork = False
    with pytest.raises(EngineStartError, match="no more processes"):
        await start_worker(forks, SETUP, grace_seconds=1, hang_seconds=9, timeout_seconds=1)


async def _disconnect(forks: FakeForkServer) -> None:
    forks.disconnect()


async def _send_unexpected_message(forks: FakeForkServer) -> None:
    forks.send(JobFinished(number=1, raw=b"{}", cookies=()))


async def _send_nothing(_forks: FakeForkServer) -> None:
    pass


@pytest.mark.parametrize("behave", [_disconnect, _send_unexpected_message, _send_nothing])
async def test_process_that_does_not_report_ready_is_a_start_error(
    behave: Callable[[FakeForkServer], Awaitable[None]],
) -> None:
    forks = FakeForkServer()
    start = asyncio.create_task(
        start_worker(forks, SETUP, grace_seconds=1, hang_seconds=9, timeout_seconds=0.2)
    )
    await until(lambda: forks.process is not None)
    await behave(forks)
    with pytest.raises(EngineStartError):
        await start
    forks.disconnect()
