import random
from collections.abc import Callable, Iterator

import pytest

from streams.memory.trend import POINTS, Growth, LeakWatch

pytestmark = pytest.mark.untraced

WINDOW = 3_600.0
EVERY = 5.0
LEAK = 20.0
"""MiB an hour."""

HOUR = 3_600


def feed(
    watch: LeakWatch, value: Callable[[float], float], hours: float, start: float = 0
) -> list[Growth]:
    """Return what a watch says of a series of samples every five seconds."""
    moments = (start + n * EVERY for n in range(int(hours * HOUR / EVERY)))
    found = (watch.add(at, value(at)) for at in moments)
    return [growth for growth in found if growth is not None]


def growing(rate: float) -> Callable[[float], float]:
    chance = random.Random(3)
    return lambda at: 300 + rate * at / HOUR + chance.gauss(0, 4)


def news(found: list[Growth]) -> int:
    return sum(growth.is_news for growth in found)


def test_nothing_is_said_before_half_of_the_window_is_seen() -> None:
    watch = LeakWatch(WINDOW, LEAK)
    assert feed(watch, growing(100), 0.49) == []
    assert feed(watch, growing(100), 0.1, start=0.49 * HOUR)


def test_a_leak_is_news_once() -> None:
    found = feed(LeakWatch(WINDOW, LEAK), growing(60), 4)
    assert news(found) == 1
    assert found[-1].trend.per_hour == pytest.approx(60, rel=0.2)


@pytest.mark.parametrize("rate", [0, 10, -60])
def test_what_stays_below_the_threshold_is_none(rate: float) -> None:
    assert news(feed(LeakWatch(WINDOW, LEAK), growing(rate), 4)) == 0


def test_a_leak_that_stopped_and_begins_again_is_news_again() -> None:
    watch = LeakWatch(WINDOW, LEAK)
    first = feed(watch, growing(60), 2)
    calm = feed(watch, lambda _: 420.0, 2, start=2 * HOUR)
    again = feed(watch, growing(60), 2, start=4 * HOUR)
    assert [news(first), news(calm), news(again)] == [1, 0, 1]


def test_the_teeth_of_collections_are_no_leak() -> None:
    found = feed(LeakWatch(WINDOW, LEAK), lambda at: 300 + (at % 400) / 4, 3)
    assert news(found) == 0


def test_a_step_is_no_leak() -> None:
    found = feed(LeakWatch(WINDOW, LEAK), lambda at: 300 if at < 2 * HOUR else 500, 4)
    assert news(found) == 0


def test_what_is_remembered_is_bounded() -> None:
    watch = LeakWatch(WINDOW, LEAK)
    feed(watch, growing(0), 2.2)
    assert len(watch._points) == POINTS
    assert len(watch._part) <= WINDOW / POINTS / EVERY + 1


def test_rare_samples_are_points_of_their_own() -> None:
    def rare() -> Iterator[Growth | None]:
        watch = LeakWatch(WINDOW, LEAK)
        for n in range(60):
            yield watch.add(n * 120.0, 300 + n)

    assert any(growth is not None for growth in rare())
