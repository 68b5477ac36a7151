import asyncio
from contextlib import suppress

import pytest

from agents.pipeline.results import RequestCancelledError, cancellable, is_cancelled
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
    shared_state = SharedState()
    shared_state.put(key, b"{}")
    assert is_cancelled(job, shared_state) is cancelled
    shared_state.put(key, None)
    assert not is_cancelled(job, shared_state)


async def work(job: Job, shared_state: SharedState, log: list[str]) -> None:
    with cancellable(job, shared_state):
        log.append("begun")
        try:
            await asyncio.sleep(LONG_SECONDS)
        finally:
            log.append("tidied up")


async def test_request_cancelled_before_its_start_is_not_started() -> None:
    shared_state, log = SharedState(), list[str]()
    shared_state.put("cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await work(make_job(), shared_state, log)
    assert log == []


@pytest.mark.parametrize("key", ["cancel/b1/1", "cancel/b1"])
async def test_work_in_flight_is_cancelled(key: str) -> None:
    shared_state, log = SharedState(), list[str]()
    task = asyncio.create_task(work(member_job(1), shared_state, log))
    await asyncio.sleep(0)
    shared_state.put(key, b"{}")
    shared_state.put(key, b'{"again": 1}')
    with pytest.raises(RequestCancelledError):
        await asyncio.wait_for(task, 1)
    assert log == ["begun", "tidied up"]
    assert not shared_state._watchers


async def test_other_requests_continue() -> None:
    shared_state = SharedState()
    with cancellable(make_job(), shared_state):
        shared_state.put("cancel/r2", b"{}")
        await asyncio.sleep(0)


async def test_task_can_continue_after_the_cancellation() -> None:
    shared_state, log = SharedState(), list[str]()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(shared_state.put, "cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await work(make_job(), shared_state, log)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def suppressing_work(shared_state: SharedState) -> None:
    with cancellable(make_job(), shared_state), suppress(asyncio.CancelledError):
        await asyncio.sleep(LONG_SECONDS)


async def work_that_fails_when_cancelled(shared_state: SharedState) -> None:
    with cancellable(make_job(), shared_state):
        try:
            await asyncio.sleep(LONG_SECONDS)
        except asyncio.CancelledError:
            raise OSError("closed") from None


async def test_work_that_suppresses_its_cancellation_still_raises() -> None:
    shared_state = SharedState()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(shared_state.put, "cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError):
        await suppressing_work(shared_state)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_error_in_answer_to_the_cancellation_is_the_cancellation() -> None:
    shared_state = SharedState()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().call_soon(shared_state.put, "cancel/r1", b"{}")
    with pytest.raises(RequestCancelledError) as raised:
        await work_that_fails_when_cancelled(shared_state)
    assert isinstance(raised.value.__cause__, OSError)
    assert task.cancelling() == 0
    await asyncio.sleep(0)


async def test_stage_shutdown_is_no_request_cancellation() -> None:
    shared_state, log = SharedState(), list[str]()
    task = asyncio.create_task(work(make_job(), shared_state, log))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_request_cancellation_during_shutdown_ends_the_task() -> None:
    shared_state, log = SharedState(), list[str]()
    task = asyncio.create_task(work(make_job(), shared_state, log))
    await asyncio.sleep(0)
    shared_state.put("cancel/r1", b"{}")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert log == ["begun", "tidied up"]


async def test_errors_of_the_work_propagate() -> None:
    with pytest.raises(ZeroDivisionError), cancellable(make_job(), SharedState()):
        raise ZeroDivisionError
