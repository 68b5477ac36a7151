"""The pool's side of a process, with a process that is made of coroutines."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import certifi
import pytest

from agents.engine.forking import ForkServer
from agents.engine.interface import EngineError, EngineFailure, EngineJob
from agents.engine.protocol import Failed, Finished, FromProcess, Ready, Setup, frame
from agents.engine.worker import (
    Answer,
    EngineStartError,
    ProcessLostError,
    Worker,
    start_worker,
)
from schemas.video import EngineVersions
from tests.unit.engine.processes import until

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


class Forks(ForkServer):
    """Keeps what it should have forked and killed."""

    def __init__(self) -> None:
        super().__init__(())
        self.killed: list[int] = []
        self.process: socket.socket | None = None
        self.works = True

    def fork(self, connection: socket.socket) -> None:
        if not self.works:
            raise OSError("no more processes")
        self.process = socket.socket(fileno=os.dup(connection.fileno()))

    def kill(self, pid: int) -> None:
        self.killed.append(pid)

    def hang_up(self) -> None:
        assert self.process is not None
        self.process.close()

    def say(self, message: FromProcess) -> None:
        assert self.process is not None
        self.process.sendall(frame(message))


class Bench:
    """A worker under test and all that it told."""

    def __init__(self, worker: Worker, forks: Forks) -> None:
        self.worker, self.forks = worker, forks
        self.answered = self.ended = 0
        worker.listen(self._on_answer, self._on_end)

    def _on_answer(self, worker: Worker) -> None:
        assert worker is self.worker
        self.answered += 1

    def _on_end(self, worker: Worker) -> None:
        assert worker is self.worker
        self.ended += 1

    def assign(self, seconds: float = 60) -> Answer:
        loop = asyncio.get_running_loop()
        answer: Answer = loop.create_future()
        self.worker.assign(JOB, loop.time() + seconds, answer)
        return answer


async def started(forks: Forks, **options: Any) -> Worker:
    async def introduce() -> None:
        await until(lambda: forks.process is not None)
        forks.say(READY)

    introduction = asyncio.create_task(introduce())
    worker = await start_worker(
        forks, SETUP, **{"grace_seconds": 0.05, "timeout_seconds": 5, **options}
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


async def test_process_that_cannot_be_forked_is_a_start_error() -> None:
    forks = Forks()
    forks.works = False
    with pytest.raises(EngineStartError, match="no more processes"):
        await start_worker(forks, SETUP, grace_seconds=1, timeout_seconds=1)


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
    start = asyncio.create_task(start_worker(forks, SETUP, grace_seconds=1, timeout_seconds=0.2))
    await until(lambda: forks.process is not None)
    await behave(forks)
    with pytest.raises(EngineStartError):
        await start
    forks.hang_up()
