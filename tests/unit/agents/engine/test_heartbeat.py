import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agents.engine.heartbeat import BEATS, Heartbeat

SECONDS = 8.0


class Loop:
    """An event loop as far as a heartbeat needs one; its time passes when it is told to."""

    def __init__(self) -> None:
        self.timers: list[tuple[float, Callable[[], None], list[bool]]] = []
        self.now = 0.0

    def call_later(self, seconds: float, call: Callable[[], None]) -> Any:
        cancelled: list[bool] = []
        self.timers.append((self.now + seconds, call, cancelled))

        class Handle:
            def cancel(self) -> None:
                cancelled.append(True)

        return Handle()

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while due := sorted((timer for timer in self.timers if timer[0] <= until), key=_when):
            self.timers.remove(due[0])
            when, call, cancelled = due[0]
            self.now = max(self.now, when)
            if not cancelled:
                call()
        self.now = max(self.now, until)

    def stand_still(self, seconds: float) -> None:
        """Let time pass in which no timer runs, and then those that are due."""
        self.now += seconds
        self.pass_time(0)


def _when(timer: tuple[float, Any, Any]) -> float:
    return timer[0]


class Patient:
    def __init__(self) -> None:
        self.busy = True
        self.asked = self.silences = 0
        self.heartbeat = Heartbeat(
            SECONDS, is_busy=lambda: self.busy, ask=self._ask, on_silence=self._on_silence
        )
        self.heartbeat.start()

    def _ask(self) -> None:
        self.asked += 1

    def _on_silence(self) -> None:
        self.silences += 1


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    loop = Loop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


def test_silence_is_told_once_and_in_time(loop: Loop) -> None:
    patient = Patient()
    loop.pass_time(SECONDS)
    assert (patient.asked, patient.silences) == (1, 0)
    loop.pass_time(SECONDS / BEATS)
    assert patient.silences == 1
    loop.pass_time(10 * SECONDS)
    assert (patient.asked, patient.silences) == (1, 1)


def test_who_answers_is_asked_again(loop: Loop) -> None:
    patient = Patient()
    for _ in range(20):
        loop.pass_time(SECONDS / BEATS)
        patient.heartbeat.heard()
    assert (patient.asked, patient.silences) == (20, 0)


def test_an_answer_at_the_last_moment_counts(loop: Loop) -> None:
    patient = Patient()
    loop.pass_time(SECONDS + SECONDS / BEATS - 0.01)
    patient.heartbeat.heard()
    loop.pass_time(SECONDS)
    assert patient.silences == 0


def test_the_idle_are_not_asked(loop: Loop) -> None:
    patient = Patient()
    patient.busy = False
    loop.pass_time(10 * SECONDS)
    assert (patient.asked, patient.silences) == (0, 0)
    patient.busy = True
    loop.pass_time(2 * SECONDS)
    assert (patient.asked, patient.silences) == (1, 1)


def test_who_was_asked_must_answer_though_there_is_nothing_to_do(loop: Loop) -> None:
    patient = Patient()
    loop.pass_time(SECONDS / BEATS)
    patient.busy = False
    loop.pass_time(2 * SECONDS)
    assert patient.silences == 1


def test_own_standstill_is_not_taken_for_the_others(loop: Loop) -> None:
    patient = Patient()
    loop.pass_time(SECONDS / BEATS)
    loop.stand_still(100 * SECONDS)
    assert patient.silences == 0
    patient.heartbeat.heard()
    loop.pass_time(SECONDS)
    assert patient.silences == 0


def test_stopped_it_asks_no_more(loop: Loop) -> None:
    patient = Patient()
    patient.heartbeat.stop()
    loop.pass_time(10 * SECONDS)
    assert (patient.asked, patient.silences) == (0, 0)
