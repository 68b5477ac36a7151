import queue
import threading
from collections.abc import Callable

import pytest

from agents.engine.interface import EngineJob
from agents.engine.protocol import Assignment, Failed, Finished, ProtocolError
from agents.engine.worker_main import Run, Threads

SECONDS = 10
JOB = EngineJob(url="test:1", extractor="a:B")


class Crowd:
    """Threads whose jobs end when they are told to."""

    def __init__(self, most: int = 3) -> None:
        self.places: list[int] = []
        self.at: dict[int, int] = {}
        self._gates: dict[int, threading.Event] = {}
        self._answers: queue.SimpleQueue[Finished | Failed] = queue.SimpleQueue()
        self._begun: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.threads = Threads(most, self._equip, self._answers.put)

    def _equip(self) -> Run:
        place = threading.get_ident()
        self.places.append(place)

        def run(assignment: Assignment) -> Finished:
            self.at[assignment.number] = place
            self._begun.put(assignment.number)
            assert self._gates[assignment.number].wait(SECONDS)
            return Finished(number=assignment.number, raw=b"", cookies=())

        return run

    def begin(self, number: int) -> None:
        self._gates[number] = threading.Event()
        self.threads.run(Assignment(number=number, job=JOB, seconds=9))
        assert self._begun.get(timeout=SECONDS) == number

    def end(self, number: int) -> None:
        self._gates[number].set()
        assert self._answers.get(timeout=SECONDS).number == number


def test_one_job_after_the_other_needs_one_thread() -> None:
    crowd = Crowd()
    for number in range(5):
        crowd.begin(number)
        crowd.end(number)
    assert len(crowd.places) == 1


def test_as_many_threads_as_jobs_at_once() -> None:
    crowd = Crowd(3)
    for number in range(3):
        crowd.begin(number)
    assert len(set(crowd.at.values())) == 3
    for number in range(3):
        crowd.end(number)


def test_the_thread_that_was_idle_last_is_first() -> None:
    crowd = Crowd(3)
    for number in range(3):
        crowd.begin(number)
    for number in (1, 2, 0):
        crowd.end(number)
    crowd.begin(10)
    crowd.begin(11)
    assert [crowd.at[10], crowd.at[11]] == [crowd.at[0], crowd.at[2]]
    crowd.end(10)
    crowd.end(11)


def test_more_jobs_than_threads_are_an_error_and_the_others_go_on() -> None:
    crowd = Crowd(2)
    crowd.begin(0)
    crowd.begin(1)
    with pytest.raises(ProtocolError, match="more than 2 jobs"):
        crowd.threads.run(Assignment(number=2, job=JOB, seconds=9))
    crowd.end(1)
    crowd.begin(3)
    crowd.end(3)
    crowd.end(0)


def test_thread_is_idle_when_its_answer_is_heard() -> None:
    again: list[Callable[[], None]] = []
    answered = threading.Event()

    def answer(done: Finished | Failed) -> None:
        if done.number == 0:
            again[0]()
        else:
            answered.set()

    threads = Threads(
        1, lambda: lambda job: Finished(number=job.number, raw=b"", cookies=()), answer
    )
    again.append(lambda: threads.run(Assignment(number=1, job=JOB, seconds=9)))
    threads.run(Assignment(number=0, job=JOB, seconds=9))
    assert answered.wait(SECONDS)
