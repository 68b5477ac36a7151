import asyncio
from contextlib import suppress

import pytest

from agents.pipeline.cancellation import (
    RequestCancelledError,
    cancellable,
    is_cancelled,
)
from schemas.job import Job
from streams.cluster.shared_state import SharedState
from tests.unit.agents.builders import make_job, member_job

LONG_SECONDS = 30.0


@pytest.mark.parametrize(
    ("job", "key", "cancelled"),
    [
        (make_job(), "cancel/r1", True),
        (make_job(), "cancel/r2", False),
        (make_job(), "refresh/r1", False),
        (member_job(1), "cancel/b1/1", True),
        (member_job(1), "cancel/b1", True),
        (member_job(1), "cancel/b1/2", False),
    ],
)
def test_is_cancelled_by_key(job: Job, key: str, cancelled: bool) -> None:
    signals = SharedState()
    signals.put(key, b"{}")
    assert is_cancelled(job, signals) is cancelled
    signals.put(key, None)
    assert not is_cancelled(job, signals)


async def work(job: Job, signals: SharedState, log: list[str]) -> None:
    with cancellable(job, signals):
        log.append("begun")
        try:
            await asyncio.sleep(LONG_SECONDS)
        finally:
            log.append("tidied up")


async def test_request_cancelled_before_its_start_is_not_started() -> None:
    signals, log = SharedState(), list[str]()
    signals.put("cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await work(make_job(), signals, log)
    assert log == []


@pytest.mark.parametrize("key", ["cancel/b1/1", "cancel/b1"])
async def test_work_in_flight_is_cancelled(key: str) -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.create_task(work(member_job(1), signals, log))
    await asyncio.sleep(0)
    signals.put(key, b"{}")
    signals.put(key, b'{"again": 1}')
    with pytest.raises(RequestCancelledError):
        await asyncio.wait_for(task, 1)
    assert log == ["begun", "tidied up"]
    assert not signals._watchers


async def test_other_requests_continue() -> None:
    signals = SharedState()
    with cancellable(make_job(), signals):
        signals.put("cancel/r2", b"{}")
        await asyncio.sleep(0)


async def test_task_can_continue_after_the_cancellation() -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(signals.put, "cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await work(make_job(), signals, log)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def suppressing_work(signals: SharedState) -> None:
    with cancellable(make_job(), signals), suppress(asyncio.CancelledError):
        await asyncio.sleep(LONG_SECONDS)


async def test_work_that_suppresses_its_cancellation_still_raises() -> None:
    signals = SharedState()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(signals.put, "cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await suppressing_work(signals)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_stage_shutdown_is_no_request_cancellation() -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.create_task(work(make_job(), signals, log))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_request_cancellation_during_shutdown_ends_the_task() -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.create_task(work(make_job(), signals, log))
    await asyncio.sleep(0)
    signals.put("cancel/r1", b"{}")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["begun", "tidied up"]


async def test_errors_of_the_work_propagate() -> None:
    with pytest.raises(ZeroDivisionError), cancellable(make_job(), SharedState()):
        raise ZeroDivisionError
