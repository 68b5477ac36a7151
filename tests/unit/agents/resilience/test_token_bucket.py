"""The token bucket: never more than the pace allows, for whatever is done to it."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.token_bucket import (
    HORIZON_SECONDS,
    PROMISE_SECONDS_MAX,
    Pace,
    TokenBucket,
    has_room,
    promise,
    seconds_until,
    settled,
    taken,
)

TWO = Pace(per_second=2, burst=4)


def bucket(level: float = 0.0, per_second: float = 2.0, promised: float = 0.0) -> TokenBucket:
    return TokenBucket(at=100.0, level=level, per_second=per_second, promised=promised)


@pytest.mark.parametrize(
    ("before", "pace", "now", "level"),
    [
        (bucket(), TWO, 100.0, 0.0),
        (bucket(), TWO, 101.0, 2.0),
        (bucket(1.5), TWO, 100.25, 2.0),
        (bucket(), TWO, 1e6, 4.0),
        (bucket(4.0), Pace(2, burst=1), 100.0, 1.0),
        (bucket(), TWO, 99.0, 0.0),
        (bucket(), Pace(0), 200.0, 0.0),
        (bucket(per_second=0.0), TWO, 200.0, 0.0),
        (bucket(per_second=1.0), TWO, 101.0, 1.0),
        (bucket(per_second=9.0), TWO, 101.0, 2.0),
    ],
    ids=[
        "at once",
        "a second",
        "a part of one",
        "no more than the burst",
        "a smaller burst",
        "a clock that goes back",
        "no pace",
        "no pace until now",
        "a slower pace until now",
        "a faster pace until now",
    ],
)
def test_tokens_come_at_the_pace(before: TokenBucket, pace: Pace, now: float, level: float) -> None:
    after = settled(before, pace, now)
    assert after.level == pytest.approx(level)
    assert after.per_second == pace.per_second
    assert after.at == max(now, before.at)


@pytest.mark.parametrize(
    ("level", "pace", "tokens", "seconds"),
    [
        (1.0, TWO, 1, 0.0),
        (1 - 1e-12, TWO, 1, 0.0),
        (0.0, TWO, 1, 0.5),
        (0.5, TWO, 3, 1.25),
        (4.0, TWO, 6, 1.0),
        (0.0, Pace(0), 1, float("inf")),
        (1.0, Pace(0), 1, 0.0),
        (1.0, Pace(2, 4, paused_seconds=9), 1, 9.0),
        (0.0, Pace(2, 4, paused_seconds=9), 6, 10.0),
        (1.0, Pace(2, 4, paused_seconds=-3), 1, 0.0),
    ],
)
def test_how_long_until_so_many_tokens(
    level: float, pace: Pace, tokens: float, seconds: float
) -> None:
    assert seconds_until(bucket(level), pace, tokens) == pytest.approx(seconds)


def test_taking_takes_one() -> None:
    assert taken(bucket(1.5)) == bucket(0.5)


def test_what_is_not_there_yet_is_owed() -> None:
    owing = taken(bucket(1.0), 7.0)
    assert owing.level == -6.0
    assert seconds_until(owing, TWO, 1) == pytest.approx(3.5)
    assert settled(owing, TWO, 103.5).level == pytest.approx(1.0)


# Those who are sent away


def test_a_backlog_is_told_to_come_back_one_by_one() -> None:
    now, waits = bucket(1.0), []
    for _ in range(4):
        now, seconds = promise(now, TWO, waiting=40)
        waits.append(seconds)
    assert waits == [20.0, 20.5, 21.0, 21.5]


def test_who_makes_several_requests_is_due_alike_and_holds_up_those_behind() -> None:
    now, first = promise(bucket(1.0), TWO, waiting=4, requests=10)
    _, second = promise(now, TWO, waiting=4)
    assert (first, second) == (2.0, 7.0)


def test_promises_are_kept_at_the_pace_and_not_during_a_pause() -> None:
    promised = bucket(promised=40.0)
    assert settled(promised, TWO, 110.0).promised == 20.0
    assert settled(promised, TWO, 1e6).promised == 0.0
    assert settled(promised, Pace(2, paused_seconds=1), 110.0).promised == 40.0


@pytest.mark.parametrize(
    ("promised", "pace", "room"),
    [
        (0.0, TWO, True),
        (2 * HORIZON_SECONDS - 1, TWO, True),
        (2 * HORIZON_SECONDS, TWO, False),
        (0.0, Pace(0.01), False),
        (0.0, Pace(0), False),
        (0.0, Pace(2, paused_seconds=1e6), True),
    ],
)
def test_there_is_room_for_a_minute(promised: float, pace: Pace, *, room: bool) -> None:
    assert has_room(bucket(promised=promised), pace) is room


@pytest.mark.parametrize("pace", [Pace(0.001), Pace(0), Pace(5, paused_seconds=1e6)])
def test_nobody_is_sent_away_for_long(pace: Pace) -> None:
    _, seconds = promise(bucket(), pace, waiting=100)
    assert seconds == PROMISE_SECONDS_MAX


# Whatever happens


@dataclass(frozen=True)
class Step:
    """So much time at a pace, with so many who would like so many tokens each in the end."""

    seconds: float
    pace: Pace
    wanted: int
    requests: float = 1.0


RATES = st.sampled_from([0.0, 0.1, 1.0, 7.5, 300.0]) | st.floats(0, 500)
PACES = st.builds(Pace, RATES, st.floats(1, 20), st.sampled_from([0.0, 0.0, 1.0]))
SIZES = st.sampled_from([1.0, 1.0, 1.5, 60.0]) | st.floats(1, 100)
SIZED = st.lists(st.builds(Step, st.floats(0, 30), PACES, st.integers(0, 40), SIZES), max_size=30)
STEPS = st.lists(st.builds(Step, st.floats(0, 30), PACES, st.integers(0, 40)), max_size=30)


@given(STEPS)
def test_no_interval_has_more_than_the_burst_and_what_comes_in_it(steps: list[Step]) -> None:
    now, came, went = 0.0, 0.0, 0
    state = TokenBucket(now)
    burst = max((step.pace.burst for step in steps), default=1.0)
    moments = [(came, went)]
    for step in steps:
        now, came = now + step.seconds, came + step.seconds * step.pace.per_second
        state = settled(state, step.pace, now)
        for _ in range(step.wanted):
            if seconds_until(state, step.pace, 1) <= 0:
                state, went = taken(state), went + 1
        assert all(went - then <= burst + came - came_then + 1e-6 for came_then, then in moments)
        moments.append((came, went))


@given(SIZED)
def test_who_takes_several_tokens_goes_ahead_by_them_and_nobody_else(steps: list[Step]) -> None:
    """What is owed is that of the last one only, and paid back before anybody else goes."""
    now, came, went, owed = 0.0, 0.0, 0.0, 0.0
    state = TokenBucket(now)
    burst = max((step.pace.burst for step in steps), default=1.0)
    moments = [(came, went)]
    for step in steps:
        now, came = now + step.seconds, came + step.seconds * step.pace.per_second
        state = settled(state, step.pace, now)
        for _ in range(step.wanted):
            if seconds_until(state, step.pace, 1) <= 0:
                # The bound of the bucket holds with all that was taken before.
                assert all(went + 1 - then <= burst + came - at + 1e-6 for at, then in moments)
                state, went = taken(state, step.requests), went + step.requests
                owed = step.requests - 1
        assert all(went - then <= burst + owed + came - at + 1e-6 for at, then in moments)
        moments.append((came, went))


@given(st.floats(0.01, 500), st.floats(1, 20), st.floats(0, 20), st.integers(1, 60))
def test_what_was_waited_for_is_there(rate: float, burst: float, level: float, place: int) -> None:
    pace = Pace(rate, max(burst, float(place)))
    before = settled(TokenBucket(0.0, min(level, pace.burst), per_second=rate), pace, 0.0)
    seconds = seconds_until(before, pace, place)
    after = settled(before, pace, seconds + 1e-9)
    assert seconds_until(after, pace, place) <= 1e-6


@given(STEPS, st.integers(0, 50))
def test_promises_lie_ahead_and_in_order(steps: list[Step], waiting: int) -> None:
    state, now = TokenBucket(0.0), 0.0
    for step in steps:
        now += step.seconds
        state = settled(state, step.pace, now)
        state, first = promise(state, step.pace, waiting)
        state, second = promise(state, step.pace, waiting)
        assert 0 <= first <= second <= PROMISE_SECONDS_MAX
        assert state.promised >= waiting + 2
