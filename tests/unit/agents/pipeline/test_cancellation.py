import asyncio
from contextlib import suppress

import pytest

from agents.pipeline.cancellation import (
    RequestCancelledError,
    cancel_keys,
    cancellable,
    is_cancelled,
)
from schemas.job import Job
from streams.cluster.shared_state import SharedState
from tests.unit.agents.builders import make_job, member_job

LONG = 30.0


def test_a_job_listens_to_its_own_signal_and_its_batch_s() -> None:
    assert cancel_keys(make_job()) == ("cancel/r1",)
    assert cancel_keys(member_job(2)) == ("cancel/b1/2", "cancel/b1")


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
def test_who_is_meant(job: Job, key: str, cancelled: bool) -> None:
    signals = SharedState()
    signals.put(key, b"{}")
    assert is_cancelled(job, signals) is cancelled
    signals.put(key, None)
    assert not is_cancelled(job, signals)


async def work(job: Job, signals: SharedState, log: list[str]) -> None:
    with cancellable(job, signals):
        log.append("begun")
        try:
            await asyncio.sleep(LONG)
        finally:
            log.append("tidied up")


async def test_what_was_taken_back_before_is_not_begun() -> None:
    signals, log = SharedState(), list[str]()
    signals.put("cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await work(make_job(), signals, log)
    assert log == []


@pytest.mark.parametrize("key", ["cancel/b1/1", "cancel/b1"])
async def test_what_is_under_way_is_stopped(key: str) -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.create_task(work(member_job(1), signals, log))
    await asyncio.sleep(0)
    signals.put(key, b"{}")
    signals.put(key, b'{"again": 1}')
    with pytest.raises(RequestCancelledError):
        await asyncio.wait_for(task, 1)
    assert log == ["begun", "tidied up"]
    assert not signals._watchers


async def test_others_go_on() -> None:
    signals = SharedState()
    with cancellable(make_job(), signals):
        signals.put("cancel/r2", b"{}")
        await asyncio.sleep(0)


async def test_a_task_can_go_on_after_it() -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(signals.put, "cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await work(make_job(), signals, log)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def stubborn(signals: SharedState) -> None:
    with cancellable(make_job(), signals), suppress(asyncio.CancelledError):
        await asyncio.sleep(LONG)


async def test_work_that_hides_its_cancellation_is_cancelled_all_the_same() -> None:
    signals = SharedState()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(signals.put, "cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await stubborn(signals)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_the_end_of_the_stage_is_no_cancellation_by_the_user() -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.create_task(work(make_job(), signals, log))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_both_at_once_end_the_task() -> None:
    signals, log = SharedState(), list[str]()
    task = asyncio.create_task(work(make_job(), signals, log))
    await asyncio.sleep(0)
    signals.put("cancel/r1", b"{}")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["begun", "tidied up"]


async def test_errors_of_the_work_come_through() -> None:
    with pytest.raises(ZeroDivisionError), cancellable(make_job(), SharedState()):
        raise ZeroDivisionError
