from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.signals import IntakeSignal
from streams.deadletters.headers import make_dead_letter
from streams.deadletters.limit import DeadLetterLimit
from streams.records import Incoming, Outgoing, TableWrite
from streams.settings import DeadLetterSettings
from streams.topics import DEADLETTERS, RESULTS, SIGNALS


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_limit(limit: int = 3, seconds: float = 10) -> tuple[DeadLetterLimit, FakeClock]:
    clock = FakeClock()
    return DeadLetterLimit(DeadLetterSettings(limit=limit, window_seconds=seconds), clock), clock


def dead_letter(step: str = "extraction", topic: str = "videos.validated") -> Outgoing:
    record = Incoming(topic, 0, 1, b"k", b"v", (), 1.0)
    return make_dead_letter(record, step=step, code="internal.bug", reason="no")


def test_exceeded_limit_pauses_the_step_with_instructions() -> None:
    limit, _ = make_limit()
    assert limit.pause_signals([dead_letter()] * 3, "recovery") == []
    [pause] = limit.pause_signals([dead_letter()], "recovery")
    assert (pause.topic, pause.key) == (SIGNALS, b"intake/extraction")
    signal = decode(pause.value or b"", IntakeSignal)
    assert (signal.paused, signal.by) == (True, "recovery")
    assert "clipmill resume extraction" in signal.reason
    assert "clipmill deadletters list --step extraction" in signal.reason


def test_steps_are_counted_separately() -> None:
    limit, _ = make_limit()
    assert limit.pause_signals([dead_letter("download"), dead_letter("extraction")] * 3, "x") == []
    assert len(limit.pause_signals([dead_letter("download"), dead_letter("extraction")], "x")) == 2


def test_dead_letters_outside_the_window_do_not_count() -> None:
    limit, clock = make_limit()
    for _ in range(20):
        assert limit.pause_signals([dead_letter()], "x") == []
        clock.now += 4


def test_count_is_reset_by_a_pause() -> None:
    limit, _ = make_limit()
    assert [bool(limit.pause_signals([dead_letter()], "x")) for _ in range(8)] == [
        False,
        False,
        False,
        True,
    ] * 2


@pytest.mark.parametrize(
    "effect",
    [
        dead_letter(topic="requests"),
        Outgoing(RESULTS, None, b"v"),
        Outgoing(DEADLETTERS, None, b"v"),
        TableWrite("t", "k", b"v"),
        None,
    ],
)
def test_client_records_and_other_effects_never_pause_a_stage(effect: Any) -> None:
    limit, _ = make_limit()
    assert limit.pause_signals([effect] * 100, "x") == []


@given(
    gaps=st.lists(st.floats(0, 20), max_size=60),
    most=st.integers(1, 5),
)
def test_limit_is_exceeded_exactly_when_the_window_holds_more(gaps: list[float], most: int) -> None:
    limit, clock = make_limit(most)
    times: list[float] = []
    for gap in gaps:
        clock.now += gap
        times = [each for each in times if each >= clock.now - 10] + [clock.now]
        expected = len(times) > most
        assert limit.record_and_check("s") is expected
        times = [] if expected else times
