"""The pool's side of a process, with a process that is made of coroutines."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import certifi
import msgspec
import pytest

from agents.engine.interface import EngineError, EngineFailure, EngineJob
from agents.engine.protocol import (
    FRAME_BYTES_MAX,
    Failed,
    Finished,
    FromProcess,
    Pong,
    Ready,
    Setup,
)
from agents.engine.starting import start_worker
from agents.engine.worker_handle import Answer, ProcessLostError, Worker
from schemas.video import Cookie, EngineVersions
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
VERSIONS = EngineVersions(yt_dlp="1", curl_cffi="2")
READY = Ready(pid=4_242, versions=VERSIONS, impersonation=True)
JOB = EngineJob(url="test:1", extractor="a:B")


class Bench:
    """A worker under test and all that it told."""

    def __init__(self, worker: Worker, forks: Forks) -> None:
        self.worker, self.forks = worker, forks
        self.answered = self.ended = 0
        self.challenge_seconds: tuple[float, ...] = ()
        worker.listen(self._on_answer, self._on_end)

    def _on_answer(self, worker: Worker, answer: Finished | Failed) -> None:
        assert worker is self.worker
        self.answered += 1
        self.challenge_seconds += answer.challenge_seconds

    def _on_end(self, worker: Worker) -> None:
        assert worker is self.worker
        self.ended += 1

    def assign(self, seconds: float = 60, job: EngineJob = JOB) -> Answer:
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        self.worker.assign(job, loop.time() + seconds, answer)
        return answer


async def started(forks: Forks, **options: Any) -> Worker:
    async def introduce() -> None:
        await until(lambda: forks.process is not None)
        forks.say(READY)

    introduction = asyncio.create_task(introduce())
    worker = await start_worker(
        forks, SETUP, **{"grace_seconds": 0.05, "hang_seconds": 9, "timeout_seconds": 5, **options}
    )
    await introduction
    return worker


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    forks = Forks()
    bench = Bench(await started(forks), forks)
    yield bench
    forks.hang_up()
    await bench.worker.close()


async def test_result_reaches_its_job(bench: Bench) -> None:
    first, second = bench.assign(), bench.assign()
    bench.forks.say(Finished(number=2, raw=b'{"id": 2}', cookies=()))
    bench.forks.say(Finished(number=1, raw=b'{"id": 1}', cookies=()))
    results = [await first, await second]
    assert [bytes(result.raw) for result in results] == [b'{"id": 1}', b'{"id": 2}']
    assert results[0].versions == VERSIONS
    assert bench.answered == 2


async def test_failure_reaches_its_job(bench: Bench) -> None:
    failure = EngineFailure(types=("X",), message="gone")
    answer = bench.assign()
    bench.forks.say(Failed(number=1, failure=failure))
    with pytest.raises(EngineError) as caught:
        await answer
    assert caught.value.failure == failure


async def test_job_that_no_process_could_be_told_fails_alone(bench: Bench) -> None:
    big = tuple(Cookie(name=str(n), value="v" * 4_000, domain=".a") for n in range(1_100))
    other = bench.assign()
    refused = bench.assign(job=msgspec.structs.replace(JOB, cookies=big))
    with pytest.raises(EngineError, match=f"{FRAME_BYTES_MAX} is the most") as caught:
        await refused
    assert caught.value.failure.types == ("JobTooLarge",)
    assert (bench.worker.jobs, bench.worker.taken, bench.worker.free) == (1, 1, 1)
    bench.forks.say(Finished(number=1, raw=b"{}", cookies=()))
    assert bytes((await other).raw) == b"{}"
    assert (bench.ended, bench.forks.killed) == (0, [])


async def test_free_places_are_counted(bench: Bench) -> None:
    counts = [bench.worker.free]
    answers = [bench.assign(), bench.assign()]
    counts.append(bench.worker.free)
    bench.forks.say(Finished(number=1, raw=b"{}", cookies=()))
    await answers[0]
    assert [*counts, bench.worker.free] == [2, 0, 1]
    assert bench.worker.taken == 2


async def test_overdue_job_is_a_timeout_and_kills(bench: Bench) -> None:
    late, other = bench.assign(0.01), bench.assign()
    with pytest.raises(EngineError) as caught:
        await late
    assert caught.value.failure.types == ("EngineTimeout",)
    assert bench.forks.killed == [READY.pid]
    assert bench.worker.overdue
    assert bench.worker.free == 0
    bench.forks.hang_up()
    with pytest.raises(ProcessLostError):
        await other


async def test_answer_within_the_grace_is_taken(bench: Bench) -> None:
    answer = bench.assign(-0.01)
    bench.forks.say(Finished(number=1, raw=b"{}", cookies=()))
    assert bytes((await answer).raw) == b"{}"
    assert not bench.forks.killed


async def test_end_of_the_process_loses_its_jobs(bench: Bench) -> None:
    answers = [bench.assign(), bench.assign()]
    bench.forks.hang_up()
    for answer in answers:
        with pytest.raises(ProcessLostError):
            await answer
    assert (bench.ended, bench.worker.jobs) == (1, 0)


@pytest.mark.parametrize(
    "message",
    [READY, Finished(number=99, raw=b"{}", cookies=())],
    ids=["introduced twice", "answer to nothing"],
)
async def test_process_that_talks_nonsense_is_killed(bench: Bench, message: FromProcess) -> None:
    answer = bench.assign()
    bench.forks.say(message)
    with pytest.raises(ProcessLostError):
        await answer
    assert bench.forks.killed == [READY.pid]
    assert bench.ended == 1


async def test_place_of_a_cancelled_job_stays_taken_until_its_answer(bench: Bench) -> None:
    answer = bench.assign()
    answer.cancel()
    assert bench.worker.jobs == 1
    bench.forks.say(Finished(number=1, raw=b"{}", cookies=()))
    await until(lambda: bench.worker.jobs == 0)
    assert bench.answered == 1


async def test_cancelled_job_that_is_overdue_kills_too(bench: Bench) -> None:
    bench.assign(0.01).cancel()
    await until(lambda: bench.worker.overdue)
    assert bench.forks.killed == [READY.pid]


async def test_close_kills_and_ends(bench: Bench) -> None:
    answer = bench.assign()
    await bench.worker.close()
    with pytest.raises(ProcessLostError):
        await answer
    assert bench.worker.free == 0
    assert READY.pid in bench.forks.killed


@pytest.fixture
async def impatient() -> AsyncIterator[Bench]:
    forks = Forks()
    bench = Bench(await started(forks, hang_seconds=0.1), forks)
    yield bench
    forks.hang_up()
    await bench.worker.close()


async def test_process_that_answers_no_more_is_killed(impatient: Bench) -> None:
    answer = impatient.assign()
    await until(lambda: impatient.worker.overdue)
    assert impatient.forks.killed == [READY.pid]
    assert impatient.worker.free == 0
    impatient.forks.hang_up()
    with pytest.raises(ProcessLostError):
        await answer


async def test_process_that_answers_is_left_alone(impatient: Bench) -> None:
    answer = impatient.assign()
    for _ in range(12):
        await asyncio.sleep(0.02)
        impatient.forks.say(Pong())
    assert not impatient.worker.overdue
    assert impatient.answered == 0
    impatient.forks.say(Finished(number=1, raw=b"{}", cookies=()))
    assert bytes((await answer).raw) == b"{}"


async def test_idle_process_need_not_answer(impatient: Bench) -> None:
    await asyncio.sleep(0.25)
    assert not impatient.worker.overdue
