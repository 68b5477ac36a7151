import random
from collections.abc import Callable, Iterator

import pytest

from streams.memory.trend import POINTS, Growth, LeakDetector

pytestmark = pytest.mark.untraced

WINDOW = 3_600.0
EVERY = 5.0
LEAK = 20.0
"""MiB an hour."""

HOUR = 3_600


def feed(
    detector: LeakDetector, value: Callable[[float], float], hours: float, start: float = 0
) -> list[Growth]:
    """Return the results of a detector for samples every five seconds."""
    moments = (start + n * EVERY for n in range(int(hours * HOUR / EVERY)))
    found = (detector.add(at, value(at)) for at in moments)
    return [growth for growth in found if growth is not None]


def growing(rate: float) -> Callable[[float], float]:
    rng = random.Random(3)
    return lambda at: 300 + rate * at / HOUR + rng.gauss(0, 4)


def new_leaks(found: list[Growth]) -> int:
    return sum(growth.is_new_leak for growth in found)


def test_no_result_before_half_of_the_window() -> None:
    detector = LeakDetector(WINDOW, LEAK)
    assert feed(detector, growing(100), 0.49) == []
    assert feed(detector, growing(100), 0.1, start=0.49 * HOUR)


def test_leak_is_new_once() -> None:
    found = feed(LeakDetector(WINDOW, LEAK), growing(60), 4)
    assert new_leaks(found) == 1
    assert found[-1].trend.per_hour == pytest.approx(60, rel=0.2)


@pytest.mark.parametrize("rate", [0, 10, -60])
def test_growth_below_the_threshold_is_no_leak(rate: float) -> None:
    assert new_leaks(feed(LeakDetector(WINDOW, LEAK), growing(rate), 4)) == 0


def test_leak_that_restarts_is_new_again() -> None:
    detector = LeakDetector(WINDOW, LEAK)
    first = feed(detector, growing(60), 2)
    flat = feed(detector, lambda _: 420.0, 2, start=2 * HOUR)
    again = feed(detector, growing(60), 2, start=4 * HOUR)
    assert [new_leaks(first), new_leaks(flat), new_leaks(again)] == [1, 0, 1]


def test_sawtooth_of_collections_is_no_leak() -> None:
    found = feed(LeakDetector(WINDOW, LEAK), lambda at: 300 + (at % 400) / 4, 3)
    assert new_leaks(found) == 0


def test_step_is_no_leak() -> None:
    found = feed(LeakDetector(WINDOW, LEAK), lambda at: 300 if at < 2 * HOUR else 500, 4)
    assert new_leaks(found) == 0


def test_kept_points_are_bounded() -> None:
    detector = LeakDetector(WINDOW, LEAK)
    feed(detector, growing(0), 2.2)
    assert len(detector._points) == POINTS
    assert len(detector._bucket) <= WINDOW / POINTS / EVERY + 1


def test_each_rare_sample_is_a_point() -> None:
    def rare() -> Iterator[Growth | None]:
        detector = LeakDetector(WINDOW, LEAK)
        for n in range(60):
            yield detector.add(n * 120.0, 300 + n)

    assert any(growth is not None for growth in rare())
