import pytest
from yt_dlp.networking.exceptions import TransportError

from agents.engine.request_bounds import Deadline


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("elapsed", "requested", "allowed"),
    [(0, 5, 5), (0, 15, 10), (7, 5, 3), (7, 2, 2), (9.5, 0, 0)],
)
def test_request_gets_the_time_left(elapsed: float, requested: float, allowed: float) -> None:
    clock = Clock()
    deadline = Deadline(clock)
    deadline.start(10)
    clock.now += elapsed
    assert deadline.allow(requested) == allowed


@pytest.mark.parametrize("elapsed", [10, 11])
def test_expired_deadline_refuses_requests(elapsed: float) -> None:
    clock = Clock()
    deadline = Deadline(clock)
    deadline.start(10)
    clock.now += elapsed
    with pytest.raises(TransportError, match="deadline"):
        deadline.allow(1)


def test_deadline_restarts_for_every_job() -> None:
    clock = Clock()
    deadline = Deadline(clock)
    deadline.start(1)
    clock.now += 5
    deadline.start(2)
    assert deadline.allow(5) == 2


def test_deadline_expired_early_refuses_until_the_next_job() -> None:
    deadline = Deadline(Clock())
    deadline.start(10)
    deadline.expire()
    with pytest.raises(TransportError, match="deadline"):
        deadline.allow(0)
    deadline.start(10)
    assert deadline.allow(5) == 5


def test_exceeded_is_set_by_a_refusal_until_the_next_start() -> None:
    deadline = Deadline(Clock())
    deadline.start(10)
    deadline.allow(1)
    assert not deadline.exceeded
    deadline.expire()
    assert not deadline.exceeded
    with pytest.raises(TransportError):
        deadline.allow(1)
    assert deadline.exceeded
    deadline.start(10)
    assert not deadline.exceeded
