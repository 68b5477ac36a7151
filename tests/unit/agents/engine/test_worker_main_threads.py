import queue
import threading
from collections.abc import Callable

import pytest

from agents.engine.interface import EngineJob
from agents.engine.protocol import Assignment, JobFailed, JobFinished, ProtocolError
from agents.engine.worker_main import RunJob, ThreadPool

SECONDS = 10
JOB = EngineJob(url="test:1", extractor="a:B")


class ThreadPoolHarness:
    """A thread pool whose jobs end on demand."""

    def __init__(self, size: int = 3) -> None:
        self.thread_ids: list[int] = []
        self.thread_of: dict[int, int] = {}
        self._gates: dict[int, threading.Event] = {}
        self._answers: queue.SimpleQueue[JobFinished | JobFailed] = queue.SimpleQueue()
        self._started: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.threads = ThreadPool(size, self._create_runner, self._answers.put)

    def _create_runner(self) -> RunJob:
        thread_id = threading.get_ident()
        self.thread_ids.append(thread_id)

        def run(assignment: Assignment) -> JobFinished:
            self.thread_of[assignment.number] = thread_id
            self._started.put(assignment.number)
            assert self._gates[assignment.number].wait(SECONDS)
            return JobFinished(number=assignment.number, raw=b"", cookies=())

        return run

    def start_job(self, number: int) -> None:
        self._gates[number] = threading.Event()
        self.threads.run(Assignment(number=number, job=JOB, seconds=9))
        assert self._started.get(timeout=SECONDS) == number

    def end_job(self, number: int) -> None:
        self._gates[number].set()
        assert self._answers.get(timeout=SECONDS).number == number


def test_consecutive_jobs_share_one_thread() -> None:
    harness = ThreadPoolHarness()
    for number in range(5):
        harness.start_job(number)
        harness.end_job(number)
    assert len(harness.thread_ids) == 1


def test_concurrent_jobs_have_one_thread_each() -> None:
    harness = ThreadPoolHarness(3)
    for number in range(3):
        harness.start_job(number)
    assert len(set(harness.thread_of.values())) == 3
    for number in range(3):
        harness.end_job(number)


def test_last_idle_thread_is_reused_first() -> None:
    harness = ThreadPoolHarness(3)
    for number in range(3):
        harness.start_job(number)
    for number in (1, 2, 0):
        harness.end_job(number)
    harness.start_job(10)
    harness.start_job(11)
    assert [harness.thread_of[10], harness.thread_of[11]] == [
        harness.thread_of[0],
        harness.thread_of[2],
    ]
    harness.end_job(10)
    harness.end_job(11)


def test_more_jobs_than_threads_is_an_error_and_others_continue() -> None:
    harness = ThreadPoolHarness(2)
    harness.start_job(0)
    harness.start_job(1)
    with pytest.raises(ProtocolError, match="more than 2 jobs"):
        harness.threads.run(Assignment(number=2, job=JOB, seconds=9))
    harness.end_job(1)
    harness.start_job(3)
    harness.end_job(3)
    harness.end_job(0)


def test_thread_is_idle_when_its_answer_is_delivered() -> None:
    again: list[Callable[[], None]] = []
    answered = threading.Event()

    def answer(done: JobFinished | JobFailed) -> None:
        if done.number == 0:
            again[0]()
        else:
            answered.set()

    threads = ThreadPool(
        1, lambda: lambda job: JobFinished(number=job.number, raw=b"", cookies=()), answer
    )
    again.append(lambda: threads.run(Assignment(number=1, job=JOB, seconds=9)))
    threads.run(Assignment(number=0, job=JOB, seconds=9))
    assert answered.wait(SECONDS)
