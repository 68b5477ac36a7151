"""Conditions under which a partition counts as stalled."""

import pytest

from streams.runtime.stall_detector import Position, StallDetector, StalledError

P = ("requests", 0)
Q = ("requests", 1)


class FakeClock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def detector(clock: FakeClock) -> StallDetector:
    return StallDetector(100, clock)


def at(end: int, committed: int, delivered: int | None = None, in_flight: int = 0) -> Position:
    return Position(end=end, committed=committed, delivered=delivered, in_flight=in_flight)


STALLED = [
    pytest.param([at(9, 5), at(9, 5)], id="records to read, none delivered"),
    pytest.param([at(9, 5), at(12, 5)], id="log grows, none delivered"),
    pytest.param([at(9, 5, 8), at(9, 5, 8)], id="all finished, none committed"),
]

HEALTHY = [
    pytest.param([at(9, 9), at(9, 9)], id="nothing to read"),
    pytest.param([at(9, 5), at(9, 6)], id="commits advance"),
    pytest.param([at(9, 5, 5), at(9, 5, 6)], id="events are delivered"),
    pytest.param([at(9, 5, 8, 1), at(9, 5, 8, 1)], id="one long record in flight"),
    pytest.param([at(9, 5), at(9, 9), at(9, 5)], id="caught up in between"),
    pytest.param([at(0, 0), at(0, 0)], id="empty"),
]


@pytest.mark.parametrize("positions", STALLED)
def test_partition_without_progress_is_stalled(
    detector: StallDetector, clock: FakeClock, positions: list[Position]
) -> None:
    for position in positions[:-1]:
        detector.observe({P: position})
    clock.now += 99
    detector.observe({P: positions[-1]})
    clock.now += 1
    with pytest.raises(StalledError, match=r"requests-0 has been stalled for 100 s: committed 5"):
        detector.observe({P: positions[-1]})


@pytest.mark.parametrize("positions", HEALTHY)
def test_partition_with_progress_or_in_flight_record_is_not_stalled(
    detector: StallDetector, clock: FakeClock, positions: list[Position]
) -> None:
    for position in positions:
        detector.observe({P: position})
        clock.now += 99


def test_progress_of_one_partition_does_not_hide_a_stalled_one(
    detector: StallDetector, clock: FakeClock
) -> None:
    for step in range(4):
        detector.observe({P: at(9, step), Q: at(9, 5)})
        clock.now += 33
    clock.now += 1
    with pytest.raises(StalledError, match="requests-1"):
        detector.observe({P: at(9, 5), Q: at(9, 5)})


def test_revoked_partition_is_dropped(detector: StallDetector, clock: FakeClock) -> None:
    detector.observe({P: at(9, 5)})
    clock.now += 99
    detector.observe({})
    clock.now += 99
    detector.observe({P: at(9, 5)})
