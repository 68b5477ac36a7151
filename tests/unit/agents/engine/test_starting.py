import asyncio
from collections.abc import Awaitable, Callable

import certifi
import pytest

from agents.engine.protocol import Finished, Setup
from agents.engine.starting import EngineStartError, start_worker
from tests.unit.agents.engine.fork_stand_in import Forks
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
    forks = Forks()
    forks.works = False
    with pytest.raises(EngineStartError, match="no more processes"):
        await start_worker(forks, SETUP, grace_seconds=1, hang_seconds=9, timeout_seconds=1)


async def _hang_up(forks: Forks) -> None:
    forks.hang_up()


async def _talk_nonsense(forks: Forks) -> None:
    forks.say(Finished(number=1, raw=b"{}", cookies=()))


async def _say_nothing(_forks: Forks) -> None:
    pass


@pytest.mark.parametrize("behave", [_hang_up, _talk_nonsense, _say_nothing])
async def test_process_that_does_not_introduce_itself_is_a_start_error(
    behave: Callable[[Forks], Awaitable[None]],
) -> None:
    forks = Forks()
    start = asyncio.create_task(
        start_worker(forks, SETUP, grace_seconds=1, hang_seconds=9, timeout_seconds=0.2)
    )
    await until(lambda: forks.process is not None)
    await behave(forks)
    with pytest.raises(EngineStartError):
        await start
    forks.hang_up()
