"""AIMD rate adaptation: cuts, recovery, pauses and bounds."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.adaptive_rate import (
    LATENCY_SAMPLES,
    WINDOW_CALLS_MAX,
    WINDOW_SECONDS_MAX,
    AdaptiveRate,
    RateRules,
    expire_outdated,
    is_idle,
    new_rate,
    rate_of,
    state_of,
)
from agents.resilience.aimd import (
    BASELINE_WEIGHT,
    CUT_FACTOR,
    CUT_FACTOR_MIN,
    GROWTH_SECONDS_MAX,
    REACTION_SECONDS,
    RECENT_SUCCESS_SECONDS,
    adapt,
    handles_limits,
)
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import (
    BLOCK,
    CHANGED,
    NOT_FOUND,
    NOW,
    SERVER,
    attempt,
    to_datetime,
)

LIMIT = ErrorCode.RATE_LIMIT_API
TIMEOUT = ErrorCode.NETWORK_TIMEOUT
RULES = RateRules(limit=100, floor=1, recovery_seconds=100, pause_seconds_max=60)
BRISK = msgspec.structs.replace(RULES, recovery_seconds=20)
QUICK = 0.01


def initial_rate() -> AdaptiveRate:
    return new_rate(attempt(), NOW)


def after_attempts(
    row: AdaptiveRate,
    code: ErrorCode | None,
    *times: float,
    rules: RateRules = RULES,
    **fields: Any,
) -> AdaptiveRate:
    """Return the rate after attempts on different videos that end at these times."""
    for at in times:
        merged = {"seconds": QUICK, "cuts": row.cuts, **fields}
        row = adapt(row, attempt(f"v{at}", code, at=at, **merged), rules, at)
    return row


def steady_times(per_second: int, seconds: int, begin: float = NOW) -> list[float]:
    return [begin + number / per_second for number in range(per_second * seconds)]


def at_rate(allowed: float | None, **changes: Any) -> AdaptiveRate:
    return msgspec.structs.replace(initial_rate(), allowed=allowed, **changes)


# Cuts


def test_initial_rate_is_the_limit() -> None:
    assert rate_of(initial_rate(), RULES) == 100
    assert rate_of(after_attempts(initial_rate(), None, *steady_times(10, 5)), RULES) == 100


@pytest.mark.parametrize(
    ("refused", "is_cut"), [(2, False), (3, True)], ids=["two of ten", "three of ten"]
)
def test_few_attempts_cut_only_above_the_level_of_chance(refused: int, *, is_cut: bool) -> None:
    row = after_attempts(initial_rate(), None, *steady_times(10, 1)[refused:])
    assert (
        rate_of(after_attempts(row, LIMIT, *steady_times(10, 1, NOW + 1)[:refused]), RULES) < 100
    ) is is_cut


@pytest.mark.parametrize(
    ("refused", "is_cut"), [(11, False), (12, True)], ids=["eleven of 100", "twelve of 100"]
)
def test_many_attempts_cut_only_above_the_level_of_chance(refused: int, *, is_cut: bool) -> None:
    row = after_attempts(initial_rate(), None, *steady_times(50, 2))
    row = after_attempts(row, LIMIT, *steady_times(50, 1, NOW + 2)[:refused])
    assert (rate_of(row, RULES) < 100) is is_cut


def test_cut_sets_the_rate_below_the_admitted_throughput() -> None:
    row = after_attempts(initial_rate(), None, *steady_times(50, 2))
    row = after_attempts(row, LIMIT, *steady_times(50, 1, NOW + 2)[:12])
    assert rate_of(row, RULES) == pytest.approx(50 * CUT_FACTOR * 0.88, rel=0.05)
    assert (row.reason, row.cuts) == (LIMIT, 1)
    assert row.since == pytest.approx(NOW + 2.22)
    assert row.knee == pytest.approx(50, rel=0.05)


def test_cut_without_admitted_requests_halves_the_rate() -> None:
    row = after_attempts(initial_rate(), LIMIT, *steady_times(50, 1)[:3])
    assert rate_of(row, RULES) == pytest.approx(CUT_FACTOR_MIN * 12)


def test_cut_at_low_load_leaves_a_twentieth_of_the_limit() -> None:
    assert rate_of(after_attempts(initial_rate(), LIMIT, NOW, NOW + 2, NOW + 4), RULES) == 5


def rate_after_one_cut() -> AdaptiveRate:
    return after_attempts(at_rate(64), LIMIT, *steady_times(64, 1)[:3])


def test_rate_is_cut_once_per_reaction_time() -> None:
    once = rate_after_one_cut()
    row = after_attempts(once, LIMIT, *steady_times(40, 1, NOW + 0.1)[:36])
    assert row.allowed == once.allowed
    assert rate_of(after_attempts(row, LIMIT, once.cut_at + REACTION_SECONDS), RULES) < rate_of(
        once, RULES
    )


def test_attempts_started_before_a_cut_do_not_cut_again() -> None:
    once = rate_after_one_cut()
    late = steady_times(64, 5, once.cut_at + 2 * REACTION_SECONDS)
    assert after_attempts(once, LIMIT, *late, cuts=0).allowed == once.allowed
    mixed = after_attempts(once, LIMIT, *late[:50], cuts=0)
    assert after_attempts(mixed, LIMIT, *late[50:52]).allowed == once.allowed
    assert rate_of(after_attempts(mixed, LIMIT, *late[50:53]), RULES) < rate_of(once, RULES)


@pytest.mark.parametrize("skew", [-600.0, 600.0])
def test_worker_clock_skew_has_no_effect(skew: float) -> None:
    row = initial_rate()
    for number, now in enumerate(steady_times(10, 1)[:3]):
        report = attempt(f"v{number}", LIMIT, at=now + skew, seconds=QUICK, cuts=row.cuts)
        row = adapt(row, report, RULES, now)
    assert rate_of(row, RULES) < 100


@pytest.mark.parametrize("code", [SERVER, TIMEOUT, BLOCK, ErrorCode.RATE_LIMIT_ACCOUNT])
def test_other_failures_cut_for_several_videos_above_the_level_of_chance(
    code: ErrorCode,
) -> None:
    assert rate_of(after_attempts(initial_rate(), code, NOW, NOW + 0.1), RULES) == 100
    assert rate_of(after_attempts(initial_rate(), code, NOW, NOW + 0.1, NOW + 0.2), RULES) < 100
    busy = after_attempts(initial_rate(), None, *steady_times(20, 2))
    assert rate_of(after_attempts(busy, code, *steady_times(20, 1, NOW + 2)[:11]), RULES) == 100
    assert rate_of(after_attempts(busy, code, *steady_times(20, 1, NOW + 2)[:12]), RULES) < 100


def test_repeated_failures_of_one_video_cut_nothing() -> None:
    row = initial_rate()
    for step in range(20):
        row = adapt(row, attempt("same", SERVER, at=NOW + step / 5, seconds=QUICK), RULES, NOW + 4)
    assert rate_of(row, RULES) == 100


@pytest.mark.parametrize(
    "code", [NOT_FOUND, CHANGED, ErrorCode.NETWORK_DNS, ErrorCode.NETWORK_CONNECTION]
)
def test_failures_unrelated_to_the_rate_cut_nothing(code: ErrorCode) -> None:
    assert rate_of(after_attempts(initial_rate(), code, *steady_times(10, 3)), RULES) == 100


def test_rate_is_not_cut_below_the_floor() -> None:
    row = after_attempts(initial_rate(), LIMIT, *steady_times(4, 60))
    assert rate_of(row, RULES) == RULES.floor
    low = msgspec.structs.replace(RULES, limit=0.3)
    assert after_attempts(initial_rate(), LIMIT, *steady_times(4, 2), rules=low).allowed is None


def test_lowered_limit_applies_at_once() -> None:
    assert rate_of(at_rate(64), msgspec.structs.replace(RULES, limit=10)) == 10


# Latency


def after_responses(row: AdaptiveRate, seconds: float, count: int, begin: float) -> AdaptiveRate:
    times = (begin + number / 20 for number in range(count))
    return after_attempts(row, None, *times, seconds=seconds)


def test_latency_far_above_the_baseline_cuts_a_little() -> None:
    usual = after_responses(initial_rate(), 0.4, 100, NOW)
    slow = after_responses(usual, 1.2, LATENCY_SAMPLES, NOW + 20)
    assert rate_of(slow, RULES) == pytest.approx(CUT_FACTOR * 100)
    assert slow.reason == TIMEOUT
    assert (
        rate_of(after_responses(slow, 1.2, LATENCY_SAMPLES - 1, NOW + 23), RULES)
        >= CUT_FACTOR * 100
    )
    assert (
        rate_of(after_responses(slow, 1.2, 2 * LATENCY_SAMPLES, NOW + 23), RULES) < CUT_FACTOR * 100
    )


@pytest.mark.parametrize(
    ("usual", "now"),
    [(0.4, 0.8), (0.02, 0.4), (2.0, 3.9)],
    ids=["double", "still fast", "below the factor"],
)
def test_latency_variation_cuts_nothing(usual: float, now: float) -> None:
    row = after_responses(
        after_responses(initial_rate(), usual, 100, NOW), now, LATENCY_SAMPLES, NOW + 20
    )
    assert rate_of(row, RULES) == 100


def test_lasting_latency_becomes_the_baseline() -> None:
    row = after_responses(after_responses(initial_rate(), 0.4, 10, NOW), 1.2, 1_000, NOW + 20)
    assert row.latency == pytest.approx(1.2, rel=0.05)
    one = after_responses(after_responses(initial_rate(), 0.4, 10, NOW), 1.2, 1, NOW + 20)
    assert one.latency == pytest.approx(0.4 + 0.8 * BASELINE_WEIGHT)


# Recovery


def test_recovery_is_slow_below_the_knee_and_faster_beyond() -> None:
    row = at_rate(10, knee=20.0, increased_at=NOW, cut_at=NOW - 60)
    below = after_attempts(row, None, *steady_times(1, 6))
    assert rate_of(below, RULES) == pytest.approx(10 + 5 * 20 / 100)
    beyond = after_attempts(msgspec.structs.replace(row, knee=10.0), None, *steady_times(1, 6))
    assert rate_of(beyond, RULES) == pytest.approx(10 + 5 * 100 / 100)


def test_content_errors_count_as_successes() -> None:
    row = at_rate(10, increased_at=NOW, cut_at=NOW - 60)
    assert (
        after_attempts(row, NOT_FOUND, NOW + 1).allowed
        == after_attempts(row, None, NOW + 1).allowed
    )
    assert (after_attempts(row, NOT_FOUND, NOW + 1).allowed or 0) > 10


def test_idle_time_does_not_raise_the_rate() -> None:
    row = at_rate(10, increased_at=NOW, cut_at=NOW - 60)
    late = after_attempts(row, None, NOW + 3_000)
    assert rate_of(late, RULES) == pytest.approx(10 + GROWTH_SECONDS_MAX)


def test_recovery_ends_at_the_limit_and_resets_the_state() -> None:
    row = at_rate(99.5, knee=50.0, reason=LIMIT, increased_at=NOW, cut_at=NOW - 60)
    row = after_attempts(row, None, NOW + 1)
    assert (row.allowed, row.knee, row.reason, row.since) == (None, None, None, NOW + 1)


# Retry-After


def after_retry_after(
    row: AdaptiveRate, count: int, seconds: float, at: float = NOW
) -> AdaptiveRate:
    for number in range(count):
        refused_attempt = attempt(
            f"v{number}", LIMIT, at=at, seconds=QUICK, retry_after_seconds=seconds
        )
        row = adapt(row, refused_attempt, RULES, at)
    return row


def test_retry_after_of_several_videos_pauses_the_endpoint() -> None:
    assert after_retry_after(initial_rate(), 2, 30).until is None
    row = after_retry_after(initial_rate(), 3, 30)
    assert row.until == NOW + 30
    assert state_of(row).until == to_datetime(NOW + 30)
    assert after_retry_after(initial_rate(), 3, 1e9).until == NOW + RULES.pause_seconds_max


def test_few_refusals_among_many_successes_do_not_pause() -> None:
    busy = after_attempts(initial_rate(), None, *steady_times(50, 2))
    assert after_retry_after(busy, 11, 30, NOW + 2).until is None
    assert after_retry_after(busy, 12, 30, NOW + 2).until == NOW + 32


def test_pause_is_not_extended_by_small_amounts() -> None:
    row = after_retry_after(initial_rate(), 3, 30)
    assert after_retry_after(row, 1, 30, NOW + 0.9).until == NOW + 30
    assert after_retry_after(row, 1, 30, NOW + 2).until == NOW + 32


def test_expired_pause_clears_its_reason() -> None:
    row = at_rate(None, until=NOW + 30, reason=LIMIT)
    assert expire_outdated(row, RULES, NOW + 29).until == NOW + 30
    over = expire_outdated(row, RULES, NOW + 30)
    assert (over.until, over.reason) == (None, None)
    assert (
        expire_outdated(msgspec.structs.replace(row, allowed=5.0), RULES, NOW + 30).reason == LIMIT
    )


# A clock that was ahead is set back


HOUR = 3_600.0


def rate_from_future_clock() -> AdaptiveRate:
    """Return a rate that was cut, and paused, by a clock that was an hour ahead."""
    row = after_attempts(initial_rate(), None, *steady_times(10, 2, NOW + HOUR))
    return after_retry_after(row, 12, 1e9, NOW + HOUR + 2)


def test_pause_set_by_a_future_clock_is_capped() -> None:
    row = expire_outdated(rate_from_future_clock(), RULES, NOW)
    assert row.until == NOW + RULES.pause_seconds_max
    assert expire_outdated(row, RULES, NOW + 1).until == row.until
    assert expire_outdated(row, RULES, NOW + RULES.pause_seconds_max).until is None


def test_rate_cut_by_a_future_clock_recovers() -> None:
    row = rate_from_future_clock()
    assert rate_of(row, RULES) < 10
    assert rate_of(after_attempts(row, None, *steady_times(10, 200)), RULES) == RULES.limit


def test_rate_cut_by_a_future_clock_can_be_cut_again() -> None:
    row = after_attempts(rate_from_future_clock(), None, *steady_times(10, 5))
    before = rate_of(row, RULES)
    assert rate_of(after_attempts(row, LIMIT, *steady_times(50, 1, NOW + 5)), RULES) < before


def test_successes_from_a_future_clock_expire() -> None:
    row = expire_outdated(rate_from_future_clock(), RULES, NOW)
    assert handles_limits(row, RULES, NOW)
    assert not handles_limits(row, RULES, NOW + RECENT_SUCCESS_SECONDS + 1)
    assert is_idle(row, HOUR, NOW + HOUR)


@given(st.floats(-1e5, 1e5))
def test_no_timestamp_is_in_the_future_after_a_clock_step(step: float) -> None:
    now = NOW + HOUR + step
    row = expire_outdated(rate_from_future_clock(), RULES, now)
    assert max(row.cut_at, row.increased_at, row.succeeded_at, row.active_at) <= now
    assert all(each.at <= now for each in row.window)
    assert row.until is None or now < row.until <= now + RULES.pause_seconds_max
    assert expire_outdated(row, RULES, now) == row


# Which handles 429: the rate, or recovery


@pytest.mark.parametrize(
    ("allowed", "succeeded_at", "handles"),
    [
        (None, NOW, True),
        (2.0, NOW - RECENT_SUCCESS_SECONDS, True),
        (2.0, NOW - RECENT_SUCCESS_SECONDS - 0.1, False),
        (1.0, NOW, False),
    ],
)
def test_rate_handles_429_while_a_cut_can_help(
    allowed: float | None, succeeded_at: float, *, handles: bool
) -> None:
    assert handles_limits(at_rate(allowed, succeeded_at=succeeded_at), RULES, NOW) is handles


# Stored and published state


def test_published_rate_has_two_significant_digits() -> None:
    report = state_of(at_rate(12.345, reason=LIMIT))
    assert (report.requests_per_second, report.reason, report.name) == (
        12,
        LIMIT,
        "tiktok:extract:a",
    )
    assert state_of(at_rate(0.5678)).requests_per_second == 0.57
    assert state_of(initial_rate()).requests_per_second is None


def test_state_is_bounded_and_survives_serialization() -> None:
    row = after_attempts(initial_rate(), LIMIT, *steady_times(100, 5))
    assert len(row.window) == WINDOW_CALLS_MAX
    assert decode(encode(row), AdaptiveRate) == row
    assert expire_outdated(row, RULES, NOW + 5 + WINDOW_SECONDS_MAX).window == ()


def test_rate_is_idle_without_attempts() -> None:
    row = after_attempts(initial_rate(), None, NOW + 5)
    assert not is_idle(row, 10, NOW + 14.9)
    assert is_idle(row, 10, NOW + 15)


# Properties

CODES = st.sampled_from([None, None, None, LIMIT, SERVER, BLOCK, NOT_FOUND, TIMEOUT, CHANGED])
OBSERVED = st.tuples(
    st.floats(0, 20), CODES, st.integers(0, 5), st.floats(0, 30), st.none() | st.floats(-5, 500)
)


@given(st.lists(OBSERVED, max_size=60), st.floats(0.1, 500), st.floats(0.1, 50))
def test_rate_stays_in_bounds_and_moves_in_the_right_direction(
    observed: list[tuple[float, ErrorCode | None, int, float, float | None]],
    limit: float,
    floor: float,
) -> None:
    rules = msgspec.structs.replace(RULES, limit=limit, floor=floor)
    row, now = initial_rate(), NOW
    for wait, code, video, seconds, retry_after in observed:
        now += wait
        before = rate_of(row, rules)
        report = attempt(
            video, code, at=now, seconds=seconds, retry_after_seconds=retry_after, cuts=row.cuts
        )
        row = adapt(row, report, rules, now)
        allowed = rate_of(row, rules)
        assert min(floor, limit) <= allowed <= limit
        if code is None or code == NOT_FOUND:
            assert allowed >= CUT_FACTOR * before - 1e-9
        else:
            assert allowed <= before
        assert row.until is None or row.until <= now + rules.pause_seconds_max
        assert (row.allowed is None) <= (row.knee is None)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40), st.floats(1, 99))
def test_successes_alone_never_lower_the_rate(waits: list[float], allowed: float) -> None:
    row, now = at_rate(allowed, increased_at=NOW, cut_at=NOW - 60), NOW
    for wait in waits:
        now += wait
        before = rate_of(row, RULES)
        row = after_attempts(row, None, now)
        assert rate_of(row, RULES) >= before
