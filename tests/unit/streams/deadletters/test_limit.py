from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.signals import IntakeSignal
from streams.deadletters.headers import make_letter
from streams.deadletters.limit import LetterLimit
from streams.records import Incoming, Outgoing, TableWrite
from streams.settings import DeadLetterSettings
from streams.topics import DEADLETTERS, RESULTS, SIGNALS


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def make_limit(limit: int = 3, seconds: float = 10) -> tuple[LetterLimit, Clock]:
    clock = Clock()
    return LetterLimit(DeadLetterSettings(limit=limit, window_seconds=seconds), clock), clock


def letter(step: str = "extraction", topic: str = "videos.validated") -> Outgoing:
    record = Incoming(topic, 0, 1, b"k", b"v", (), 1.0)
    return make_letter(record, step=step, code="internal.bug", reason="no")


def test_one_too_many_stops_the_step_and_says_what_to_do() -> None:
    limit, _ = make_limit()
    assert limit.stops([letter()] * 3, "recovery") == []
    [stop] = limit.stops([letter()], "recovery")
    assert (stop.topic, stop.key) == (SIGNALS, b"intake/extraction")
    signal = decode(stop.value or b"", IntakeSignal)
    assert (signal.paused, signal.by) == (True, "recovery")
    assert "clipmill resume extraction" in signal.reason
    assert "clipmill deadletters list --step extraction" in signal.reason


def test_steps_are_counted_apart() -> None:
    limit, _ = make_limit()
    assert limit.stops([letter("download"), letter("extraction")] * 3, "x") == []
    assert len(limit.stops([letter("download"), letter("extraction")], "x")) == 2


def test_old_ones_do_not_count() -> None:
    limit, clock = make_limit()
    for _ in range(20):
        assert limit.stops([letter()], "x") == []
        clock.now += 4


def test_after_a_stop_counting_begins_anew() -> None:
    limit, _ = make_limit()
    assert [bool(limit.stops([letter()], "x")) for _ in range(8)] == [False, False, False, True] * 2


@pytest.mark.parametrize(
    "effect",
    [
        letter(topic="requests"),
        Outgoing(RESULTS, None, b"v"),
        Outgoing(DEADLETTERS, None, b"v"),
        TableWrite("t", "k", b"v"),
        None,
    ],
)
def test_what_clients_write_and_what_is_no_letter_never_stops_a_stage(effect: Any) -> None:
    limit, _ = make_limit()
    assert limit.stops([effect] * 100, "x") == []


@given(
    gaps=st.lists(st.floats(0, 20), max_size=60),
    most=st.integers(1, 5),
)
def test_it_stops_exactly_when_more_than_the_limit_fall_into_the_window(
    gaps: list[float], most: int
) -> None:
    limit, clock = make_limit(most)
    times: list[float] = []
    for gap in gaps:
        clock.now += gap
        times = [each for each in times if each >= clock.now - 10] + [clock.now]
        expected = len(times) > most
        assert limit.exceeds("s") is expected
        times = [] if expected else times
