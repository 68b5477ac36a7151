"""The pool's side of a worker process; the process is played by coroutines."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import certifi
import msgspec
import pytest

from agents.engine.interface import EngineError, EngineFailure, EngineJob
from agents.engine.protocol import (
    FRAME_BYTES_MAX,
    FromProcess,
    JobFailed,
    JobFinished,
    Pong,
    ProcessReady,
    Setup,
)
from agents.engine.supervisor import start_worker
from agents.engine.worker_handle import ProcessLostError, ResultFuture, WorkerHandle
from schemas.video import Cookie, EngineVersions
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
VERSIONS = EngineVersions(yt_dlp="1", curl_cffi="2")
READY = ProcessReady(pid=4_242, versions=VERSIONS, impersonation=True)
JOB = EngineJob(url="test:1", extractor="a:B")


class WorkerHarness:
    """A worker under test and the callbacks it made."""

    def __init__(self, worker: WorkerHandle, forks: FakeForkServer) -> None:
        self.worker, self.forks = worker, forks
        self.answer_count = self.end_count = 0
        self.challenge_seconds: tuple[float, ...] = ()
        worker.listen(self._on_answer, self._on_end)

    def _on_answer(self, worker: WorkerHandle, answer: JobFinished | JobFailed) -> None:
        assert worker is self.worker
        self.answer_count += 1
        self.challenge_seconds += answer.challenge_seconds

    def _on_end(self, worker: WorkerHandle) -> None:
        assert worker is self.worker
        self.end_count += 1

    def assign(self, seconds: float = 60, job: EngineJob = JOB) -> ResultFuture:
        loop = asyncio.get_running_loop()
        answer: ResultFuture = loop.create_future()
        self.worker.assign(job, loop.time() + seconds, answer)
        return answer


async def start_ready_worker(forks: FakeForkServer, **options: Any) -> WorkerHandle:
    async def report_ready() -> None:
        await until(lambda: forks.process is not None)
        forks.send(READY)

    reporting = asyncio.create_task(report_ready())
    worker = await start_worker(
        forks, SETUP, **{"grace_seconds": 0.05, "hang_seconds": 9, "timeout_seconds": 5, **options}
    )
    await reporting
    return worker


@pytest.fixture
async def harness() -> AsyncIterator[WorkerHarness]:
    forks = FakeForkServer()
    harness = WorkerHarness(await start_ready_worker(forks), forks)
    yield harness
    forks.disconnect()
    await harness.worker.close()


async def test_result_reaches_its_job(harness: WorkerHarness) -> None:
    first, second = harness.assign(), harness.assign()
    harness.forks.send(JobFinished(number=2, raw=b'{"id": 2}', cookies=()))
    harness.forks.send(JobFinished(number=1, raw=b'{"id": 1}', cookies=()))
    results = [await first, await second]
    assert [bytes(result.raw) for result in results] == [b'{"id": 1}', b'{"id": 2}']
    assert results[0].versions == VERSIONS
    assert harness.answer_count == 2


async def test_failure_reaches_its_job(harness: WorkerHarness) -> None:
    failure = EngineFailure(types=("X",), message="gone")
    answer = harness.assign()
    harness.forks.send(JobFailed(number=1, failure=failure))
    with pytest.raises(EngineError) as caught:
        await answer
    assert caught.value.failure == failure


async def test_job_too_large_for_a_frame_fails_alone(harness: WorkerHarness) -> None:
    big = tuple(Cookie(name=str(n), value="v" * 4_000, domain=".a") for n in range(1_100))
    other = harness.assign()
    refused = harness.assign(job=msgspec.structs.replace(JOB, cookies=big))
    with pytest.raises(EngineError, match=f"the maximum is {FRAME_BYTES_MAX}") as caught:
        await refused
    assert caught.value.failure.types == ("JobTooLarge",)
    assert (harness.worker.jobs, harness.worker.assigned, harness.worker.free_slots) == (1, 1, 1)
    harness.forks.send(JobFinished(number=1, raw=b"{}", cookies=()))
    assert bytes((await other).raw) == b"{}"
    assert (harness.end_count, harness.forks.killed) == (0, [])


async def test_free_slots_are_counted(harness: WorkerHarness) -> None:
    counts = [harness.worker.free_slots]
    answers = [harness.assign(), harness.assign()]
    counts.append(harness.worker.free_slots)
    harness.forks.send(JobFinished(number=1, raw=b"{}", cookies=()))
    await answers[0]
    assert [*counts, harness.worker.free_slots] == [2, 0, 1]
    assert harness.worker.assigned == 2


async def test_overdue_job_times_out_and_kills_the_process(harness: WorkerHarness) -> None:
    late, other = harness.assign(0.01), harness.assign()
    with pytest.raises(EngineError) as caught:
        await late
    assert caught.value.failure.types == ("EngineTimeout",)
    assert harness.forks.killed == [READY.pid]
    assert harness.worker.killed
    assert harness.worker.free_slots == 0
    harness.forks.disconnect()
    with pytest.raises(ProcessLostError):
        await other


async def test_answer_within_the_grace_period_is_accepted(harness: WorkerHarness) -> None:
    answer = harness.assign(-0.01)
    harness.forks.send(JobFinished(number=1, raw=b"{}", cookies=()))
    assert bytes((await answer).raw) == b"{}"
    assert not harness.forks.killed


async def test_disconnect_loses_the_jobs_of_the_process(harness: WorkerHarness) -> None:
    answers = [harness.assign(), harness.assign()]
    harness.forks.disconnect()
    for answer in answers:
        with pytest.raises(ProcessLostError):
            await answer
    assert (harness.end_count, harness.worker.jobs) == (1, 0)


@pytest.mark.parametrize(
    "message",
    [READY, JobFinished(number=99, raw=b"{}", cookies=())],
    ids=["second ready", "answer to no job"],
)
async def test_process_that_breaks_the_protocol_is_killed(
    harness: WorkerHarness, message: FromProcess
) -> None:
    answer = harness.assign()
    harness.forks.send(message)
    with pytest.raises(ProcessLostError):
        await answer
    assert harness.forks.killed == [READY.pid]
    assert harness.end_count == 1


async def test_slot_of_a_cancelled_job_stays_taken_until_its_answer(harness: WorkerHarness) -> None:
    answer = harness.assign()
    answer.cancel()
    assert harness.worker.jobs == 1
    harness.forks.send(JobFinished(number=1, raw=b"{}", cookies=()))
    await until(lambda: harness.worker.jobs == 0)
    assert harness.answer_count == 1


async def test_overdue_cancelled_job_kills_the_process(harness: WorkerHarness) -> None:
    harness.assign(0.01).cancel()
    await until(lambda: harness.worker.killed)
    assert harness.forks.killed == [READY.pid]


async def test_close_kills_the_process_and_loses_its_jobs(harness: WorkerHarness) -> None:
    answer = harness.assign()
    await harness.worker.close()
    with pytest.raises(ProcessLostError):
        await answer
    assert harness.worker.free_slots == 0
    assert READY.pid in harness.forks.killed


@pytest.fixture
async def short_hang_harness() -> AsyncIterator[WorkerHarness]:
    forks = FakeForkServer()
    harness = WorkerHarness(await start_ready_worker(forks, hang_seconds=0.1), forks)
    yield harness
    forks.disconnect()
    await harness.worker.close()


async def test_unresponsive_process_is_killed(short_hang_harness: WorkerHarness) -> None:
    answer = short_hang_harness.assign()
    await until(lambda: short_hang_harness.worker.killed)
    assert short_hang_harness.forks.killed == [READY.pid]
    assert short_hang_harness.worker.free_slots == 0
    short_hang_harness.forks.disconnect()
    with pytest.raises(ProcessLostError):
        await answer


async def test_process_that_answers_pings_is_not_killed(short_hang_harness: WorkerHarness) -> None:
    answer = short_hang_harness.assign()
    for _ in range(12):
        await asyncio.sleep(0.02)
        short_hang_harness.forks.send(Pong())
    assert not short_hang_harness.worker.killed
    assert short_hang_harness.answer_count == 0
    short_hang_harness.forks.send(JobFinished(number=1, raw=b"{}", cookies=()))
    assert bytes((await answer).raw) == b"{}"


async def test_idle_process_is_not_killed(short_hang_harness: WorkerHarness) -> None:
    await asyncio.sleep(0.25)
    assert not short_hang_harness.worker.killed
