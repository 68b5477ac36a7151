"""When a partition counts as stuck."""

import pytest

from streams.runtime.stall_detector import Position, StalledError, Watchdog

P = ("requests", 0)
Q = ("requests", 1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watchdog(clock: Clock) -> Watchdog:
    return Watchdog(100, clock)


def at(end: int, committed: int, delivered: int | None = None, in_flight: int = 0) -> Position:
    return Position(end=end, committed=committed, delivered=delivered, in_flight=in_flight)


STUCK = [
    pytest.param([at(9, 5), at(9, 5)], id="records to read, and nothing comes"),
    pytest.param([at(9, 5), at(12, 5)], id="more records come, but not to the stage"),
    pytest.param([at(9, 5, 8), at(9, 5, 8)], id="all done, but commits stand still"),
]

WELL = [
    pytest.param([at(9, 9), at(9, 9)], id="nothing to read"),
    pytest.param([at(9, 5), at(9, 6)], id="commits go on"),
    pytest.param([at(9, 5, 5), at(9, 5, 6)], id="events come"),
    pytest.param([at(9, 5, 8, 1), at(9, 5, 8, 1)], id="one long download"),
    pytest.param([at(9, 5), at(9, 9), at(9, 5)], id="caught up in between"),
    pytest.param([at(0, 0), at(0, 0)], id="empty"),
]


@pytest.mark.parametrize("positions", STUCK)
def test_a_partition_that_stands_still_is_stalled(
    watchdog: Watchdog, clock: Clock, positions: list[Position]
) -> None:
    for position in positions[:-1]:
        watchdog.observe({P: position})
    clock.now += 99
    watchdog.observe({P: positions[-1]})
    clock.now += 1
    with pytest.raises(StalledError, match=r"requests-0 stands still for 100 s: committed 5"):
        watchdog.observe({P: positions[-1]})


@pytest.mark.parametrize("positions", WELL)
def test_a_partition_that_moves_or_works_is_not(
    watchdog: Watchdog, clock: Clock, positions: list[Position]
) -> None:
    for position in positions:
        watchdog.observe({P: position})
        clock.now += 99


def test_one_partition_that_moves_does_not_excuse_another(watchdog: Watchdog, clock: Clock) -> None:
    for step in range(4):
        watchdog.observe({P: at(9, step), Q: at(9, 5)})
        clock.now += 33
    clock.now += 1
    with pytest.raises(StalledError, match="requests-1"):
        watchdog.observe({P: at(9, 5), Q: at(9, 5)})


def test_a_partition_that_went_elsewhere_is_forgotten(watchdog: Watchdog, clock: Clock) -> None:
    watchdog.observe({P: at(9, 5)})
    clock.now += 99
    watchdog.observe({})
    clock.now += 99
    watchdog.observe({P: at(9, 5)})
