"""Token bucket: never more than the rate allows, for any sequence of calls."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.token_bucket import (
    HORIZON_SECONDS,
    RETRY_AFTER_SECONDS_MAX,
    Rate,
    TokenBucket,
    after_consuming,
    can_reserve,
    refilled,
    reserve,
    seconds_until,
)

TWO = Rate(per_second=2, burst=4)


def bucket(level: float = 0.0, per_second: float = 2.0, reserved: float = 0.0) -> TokenBucket:
    return TokenBucket(at=100.0, level=level, per_second=per_second, reserved=reserved)


@pytest.mark.parametrize(
    ("before", "rate", "now", "level"),
    [
        (bucket(), TWO, 100.0, 0.0),
        (bucket(), TWO, 101.0, 2.0),
        (bucket(1.5), TWO, 100.25, 2.0),
        (bucket(), TWO, 1e6, 4.0),
        (bucket(4.0), Rate(2, burst=1), 100.0, 1.0),
        (bucket(), TWO, 99.0, 0.0),
        (bucket(), Rate(0), 200.0, 0.0),
        (bucket(per_second=0.0), TWO, 200.0, 0.0),
        (bucket(per_second=1.0), TWO, 101.0, 1.0),
        (bucket(per_second=9.0), TWO, 101.0, 2.0),
    ],
    ids=[
        "at once",
        "a second",
        "a fraction of a second",
        "no more than the burst",
        "a smaller burst",
        "a clock that goes back",
        "zero rate",
        "zero rate until now",
        "a lower rate until now",
        "a higher rate until now",
    ],
)
def test_bucket_refills_at_the_rate(
    before: TokenBucket, rate: Rate, now: float, level: float
) -> None:
    after = refilled(before, rate, now)
    assert after.level == pytest.approx(level)
    assert after.per_second == rate.per_second
    assert after.at == max(now, before.at)


@pytest.mark.parametrize(
    ("level", "rate", "tokens", "seconds"),
    [
        (1.0, TWO, 1, 0.0),
        (1 - 1e-12, TWO, 1, 0.0),
        (0.0, TWO, 1, 0.5),
        (0.5, TWO, 3, 1.25),
        (4.0, TWO, 6, 1.0),
        (0.0, Rate(0), 1, float("inf")),
        (1.0, Rate(0), 1, 0.0),
        (1.0, Rate(2, 4, paused_seconds=9), 1, 9.0),
        (0.0, Rate(2, 4, paused_seconds=9), 6, 10.0),
        (1.0, Rate(2, 4, paused_seconds=-3), 1, 0.0),
    ],
)
def test_seconds_until_tokens_are_available(
    level: float, rate: Rate, tokens: float, seconds: float
) -> None:
    assert seconds_until(bucket(level), rate, tokens) == pytest.approx(seconds)


def test_consuming_takes_one_token() -> None:
    assert after_consuming(bucket(1.5)) == bucket(0.5)


def test_consuming_more_than_available_leaves_a_debt() -> None:
    in_debt = after_consuming(bucket(1.0), 7.0)
    assert in_debt.level == -6.0
    assert seconds_until(in_debt, TWO, 1) == pytest.approx(3.5)
    assert refilled(in_debt, TWO, 103.5).level == pytest.approx(1.0)


# Reservations of rejected callers


def test_backlog_gets_staggered_retry_after() -> None:
    now, waits = bucket(1.0), []
    for _ in range(4):
        now, seconds = reserve(now, TWO, queued=40)
        waits.append(seconds)
    assert waits == [20.0, 20.5, 21.0, 21.5]


def test_multi_token_reservation_delays_later_ones() -> None:
    now, first = reserve(bucket(1.0), TWO, queued=4, requests=10)
    _, second = reserve(now, TWO, queued=4)
    assert (first, second) == (2.0, 7.0)


def test_reservations_drain_at_the_rate_and_not_during_a_pause() -> None:
    reserved = bucket(reserved=40.0)
    assert refilled(reserved, TWO, 110.0).reserved == 20.0
    assert refilled(reserved, TWO, 1e6).reserved == 0.0
    assert refilled(reserved, Rate(2, paused_seconds=1), 110.0).reserved == 40.0


@pytest.mark.parametrize(
    ("reserved", "rate", "expected"),
    [
        (0.0, TWO, True),
        (2 * HORIZON_SECONDS - 1, TWO, True),
        (2 * HORIZON_SECONDS, TWO, False),
        (0.0, Rate(0.01), False),
        (0.0, Rate(0), False),
        (0.0, Rate(2, paused_seconds=1e6), True),
    ],
)
def test_reservations_are_limited_to_the_horizon(
    reserved: float, rate: Rate, *, expected: bool
) -> None:
    assert can_reserve(bucket(reserved=reserved), rate) is expected


@pytest.mark.parametrize("rate", [Rate(0.001), Rate(0), Rate(5, paused_seconds=1e6)])
def test_retry_after_is_capped(rate: Rate) -> None:
    _, seconds = reserve(bucket(), rate, queued=100)
    assert seconds == RETRY_AFTER_SECONDS_MAX


# Properties


@dataclass(frozen=True)
class Step:
    """Seconds at a rate, then ``wanted`` callers that want ``requests`` tokens each."""

    seconds: float
    rate: Rate
    wanted: int
    requests: float = 1.0


PER_SECOND = st.sampled_from([0.0, 0.1, 1.0, 7.5, 300.0]) | st.floats(0, 500)
RATES = st.builds(Rate, PER_SECOND, st.floats(1, 20), st.sampled_from([0.0, 0.0, 1.0]))
SIZES = st.sampled_from([1.0, 1.0, 1.5, 60.0]) | st.floats(1, 100)
SIZED_STEPS = st.lists(
    st.builds(Step, st.floats(0, 30), RATES, st.integers(0, 40), SIZES), max_size=30
)
STEPS = st.lists(st.builds(Step, st.floats(0, 30), RATES, st.integers(0, 40)), max_size=30)


@given(STEPS)
def test_consumption_never_exceeds_burst_plus_refill(steps: list[Step]) -> None:
    now, supplied, consumed = 0.0, 0.0, 0
    state = TokenBucket(now)
    burst = max((step.rate.burst for step in steps), default=1.0)
    moments = [(supplied, consumed)]
    for step in steps:
        now, supplied = now + step.seconds, supplied + step.seconds * step.rate.per_second
        state = refilled(state, step.rate, now)
        for _ in range(step.wanted):
            if seconds_until(state, step.rate, 1) <= 0:
                state, consumed = after_consuming(state), consumed + 1
        assert all(
            consumed - then <= burst + supplied - supplied_then + 1e-6
            for supplied_then, then in moments
        )
        moments.append((supplied, consumed))


@given(SIZED_STEPS)
def test_debt_is_bounded_by_one_multi_token_request(steps: list[Step]) -> None:
    """Only the last request is in debt, and the debt is repaid before the next is admitted."""
    now, supplied, consumed, debt = 0.0, 0.0, 0.0, 0.0
    state = TokenBucket(now)
    burst = max((step.rate.burst for step in steps), default=1.0)
    moments = [(supplied, consumed)]
    for step in steps:
        now, supplied = now + step.seconds, supplied + step.seconds * step.rate.per_second
        state = refilled(state, step.rate, now)
        for _ in range(step.wanted):
            if seconds_until(state, step.rate, 1) <= 0:
                # The bound of the bucket holds with all that was taken before.
                assert all(
                    consumed + 1 - then <= burst + supplied - at + 1e-6 for at, then in moments
                )
                state, consumed = after_consuming(state, step.requests), consumed + step.requests
                debt = step.requests - 1
        assert all(consumed - then <= burst + debt + supplied - at + 1e-6 for at, then in moments)
        moments.append((supplied, consumed))


@given(st.floats(0.01, 500), st.floats(1, 20), st.floats(0, 20), st.integers(1, 60))
def test_tokens_are_available_after_the_estimated_wait(
    per_second: float, burst: float, level: float, tokens: int
) -> None:
    rate = Rate(per_second, max(burst, float(tokens)))
    before = refilled(TokenBucket(0.0, min(level, rate.burst), per_second=per_second), rate, 0.0)
    seconds = seconds_until(before, rate, tokens)
    after = refilled(before, rate, seconds + 1e-9)
    assert seconds_until(after, rate, tokens) <= 1e-6


@given(STEPS, st.integers(0, 50))
def test_reservations_are_ordered_and_capped(steps: list[Step], queued: int) -> None:
    state, now = TokenBucket(0.0), 0.0
    for step in steps:
        now += step.seconds
        state = refilled(state, step.rate, now)
        state, first = reserve(state, step.rate, queued)
        state, second = reserve(state, step.rate, queued)
        assert 0 <= first <= second <= RETRY_AFTER_SECONDS_MAX
        assert state.reserved >= queued + 2
