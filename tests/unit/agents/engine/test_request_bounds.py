import pytest
from yt_dlp.networking.exceptions import TransportError

from agents.engine.request_bounds import Deadline


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("passed", "asked", "allowed"),
    [(0, 5, 5), (0, 15, 10), (7, 5, 3), (7, 2, 2), (9.5, 0, 0)],
)
def test_allows_what_is_left(passed: float, asked: float, allowed: float) -> None:
    clock = Clock()
    deadline = Deadline(clock)
    deadline.start(10)
    clock.now += passed
    assert deadline.allow(asked) == allowed


@pytest.mark.parametrize("passed", [10, 11])
def test_refuses_when_the_time_is_used_up(passed: float) -> None:
    clock = Clock()
    deadline = Deadline(clock)
    deadline.start(10)
    clock.now += passed
    with pytest.raises(TransportError, match="deadline"):
        deadline.allow(1)


def test_starts_anew_for_every_job() -> None:
    clock = Clock()
    deadline = Deadline(clock)
    deadline.start(1)
    clock.now += 5
    deadline.start(2)
    assert deadline.allow(5) == 2


def test_ended_it_allows_nothing_until_the_next_job() -> None:
    deadline = Deadline(Clock())
    deadline.start(10)
    deadline.end()
    with pytest.raises(TransportError, match="deadline"):
        deadline.allow(0)
    deadline.start(10)
    assert deadline.allow(5) == 5


def test_notes_that_it_refused_since_the_start() -> None:
    deadline = Deadline(Clock())
    deadline.start(10)
    deadline.allow(1)
    assert not deadline.refused
    deadline.end()
    assert not deadline.refused
    with pytest.raises(TransportError):
        deadline.allow(1)
    assert deadline.refused
    deadline.start(10)
    assert not deadline.refused
