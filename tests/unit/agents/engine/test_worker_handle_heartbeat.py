import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from agents.engine.worker_handle import MISSED_BEATS_MAX, ProcessHeartbeat

SECONDS = 8.0


class FakeLoop:
    """Event loop double with what a heartbeat uses; its time passes on demand."""

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

    def block(self, seconds: float) -> None:
        """Let time pass in which no timer runs, then run those that are due."""
        self.now += seconds
        self.pass_time(0)


def _when(timer: tuple[float, Any, Any]) -> float:
    return timer[0]


class HeartbeatHarness:
    def __init__(self) -> None:
        self.busy = True
        self.pings = self.timeouts = 0
        self.heartbeat = ProcessHeartbeat(
            SECONDS, is_busy=lambda: self.busy, send_ping=self._ping, on_timeout=self._on_timeout
        )
        self.heartbeat.start()

    def _ping(self) -> None:
        self.pings += 1

    def _on_timeout(self) -> None:
        self.timeouts += 1


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> FakeLoop:
    loop = FakeLoop()
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: loop)
    return loop


def test_unanswered_ping_times_out_once(loop: FakeLoop) -> None:
    harness = HeartbeatHarness()
    loop.pass_time(SECONDS)
    assert (harness.pings, harness.timeouts) == (1, 0)
    loop.pass_time(SECONDS / MISSED_BEATS_MAX)
    assert harness.timeouts == 1
    loop.pass_time(10 * SECONDS)
    assert (harness.pings, harness.timeouts) == (1, 1)


def test_ping_is_repeated_after_an_answer(loop: FakeLoop) -> None:
    harness = HeartbeatHarness()
    for _ in range(20):
        loop.pass_time(SECONDS / MISSED_BEATS_MAX)
        harness.heartbeat.reset()
    assert (harness.pings, harness.timeouts) == (20, 0)


def test_answer_just_before_the_timeout_prevents_it(loop: FakeLoop) -> None:
    harness = HeartbeatHarness()
    loop.pass_time(SECONDS + SECONDS / MISSED_BEATS_MAX - 0.01)
    harness.heartbeat.reset()
    loop.pass_time(SECONDS)
    assert harness.timeouts == 0


def test_no_ping_is_sent_while_idle(loop: FakeLoop) -> None:
    harness = HeartbeatHarness()
    harness.busy = False
    loop.pass_time(10 * SECONDS)
    assert (harness.pings, harness.timeouts) == (0, 0)
    harness.busy = True
    loop.pass_time(2 * SECONDS)
    assert (harness.pings, harness.timeouts) == (1, 1)


def test_pending_ping_times_out_while_idle(loop: FakeLoop) -> None:
    harness = HeartbeatHarness()
    loop.pass_time(SECONDS / MISSED_BEATS_MAX)
    harness.busy = False
    loop.pass_time(2 * SECONDS)
    assert harness.timeouts == 1


def test_blocked_event_loop_causes_no_timeout(loop: FakeLoop) -> None:
    harness = HeartbeatHarness()
    loop.pass_time(SECONDS / MISSED_BEATS_MAX)
    loop.block(100 * SECONDS)
    assert harness.timeouts == 0
    harness.heartbeat.reset()
    loop.pass_time(SECONDS)
    assert harness.timeouts == 0


def test_no_ping_is_sent_after_stop(loop: FakeLoop) -> None:
    harness = HeartbeatHarness()
    harness.heartbeat.stop()
    loop.pass_time(10 * SECONDS)
    assert (harness.pings, harness.timeouts) == (0, 0)
