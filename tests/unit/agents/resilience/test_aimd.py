"""How a rate follows what comes of the attempts, and that it does so within bounds."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.adaptive_rate import (
    AdaptiveRate,
    RateRules,
    is_idle,
    new_rate,
    rate_of,
    state_of,
    tidied,
)
from agents.resilience.aimd import (
    BACKOFF,
    BASELINE_WEIGHT,
    CUT_MIN,
    GROWTH_SECONDS_MAX,
    HANDLED_SECONDS,
    REACTION_SECONDS,
    adapt,
    handles_limits,
)
from agents.resilience.rate_window import CALLS_MAX, LATENCIES, SECONDS_MAX
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import BLOCK, CHANGED, GONE, NOW, SERVER, attempt, moment

LIMIT = ErrorCode.RATE_LIMIT_API
TIMEOUT = ErrorCode.NETWORK_TIMEOUT
RULES = RateRules(limit=100, floor=1, recovery_seconds=100, pause_seconds_max=60)
BRISK = msgspec.structs.replace(RULES, recovery_seconds=20)
QUICK = 0.01


def fresh() -> AdaptiveRate:
    return new_rate(attempt(), NOW)


def after(
    row: AdaptiveRate, code: ErrorCode | None, *times: float, rules: RateRules = RULES, **more: Any
) -> AdaptiveRate:
    """The rate after attempts on different videos, made at it, that end at these times."""
    for at in times:
        fields = {"seconds": QUICK, "cuts": row.cuts, **more}
        row = adapt(row, attempt(f"v{at}", code, at=at, **fields), rules, at)
    return row


def steady(per_second: int, seconds: int, begin: float = NOW) -> list[float]:
    return [begin + number / per_second for number in range(per_second * seconds)]


def at_rate(allowed: float | None, **changes: Any) -> AdaptiveRate:
    return msgspec.structs.replace(fresh(), allowed=allowed, **changes)


# Cuts


def test_at_first_the_whole_limit_is_allowed() -> None:
    assert rate_of(fresh(), RULES) == 100
    assert rate_of(after(fresh(), None, *steady(10, 5)), RULES) == 100


@pytest.mark.parametrize(
    ("refused", "is_cut"), [(2, False), (3, True)], ids=["two of ten", "three of ten"]
)
def test_few_attempts_cut_when_more_are_refused_than_chance_explains(
    refused: int, *, is_cut: bool
) -> None:
    row = after(fresh(), None, *steady(10, 1)[refused:])
    assert (rate_of(after(row, LIMIT, *steady(10, 1, NOW + 1)[:refused]), RULES) < 100) is is_cut


@pytest.mark.parametrize(
    ("refused", "is_cut"), [(11, False), (12, True)], ids=["eleven of 100", "twelve of 100"]
)
def test_many_attempts_cut_when_more_are_refused_than_chance_explains(
    refused: int, *, is_cut: bool
) -> None:
    row = after(fresh(), None, *steady(50, 2))
    row = after(row, LIMIT, *steady(50, 1, NOW + 2)[:refused])
    assert (rate_of(row, RULES) < 100) is is_cut


def test_a_cut_leaves_less_than_what_was_admitted() -> None:
    row = after(fresh(), None, *steady(50, 2))
    row = after(row, LIMIT, *steady(50, 1, NOW + 2)[:12])
    assert rate_of(row, RULES) == pytest.approx(50 * BACKOFF * 0.88, rel=0.05)
    assert (row.reason, row.cuts) == (LIMIT, 1)
    assert row.since == pytest.approx(NOW + 2.22)
    assert row.knee == pytest.approx(50, rel=0.05)


def test_a_cut_leaves_half_when_nothing_was_admitted() -> None:
    row = after(fresh(), LIMIT, *steady(50, 1)[:3])
    assert rate_of(row, RULES) == pytest.approx(CUT_MIN * 12)


def test_at_low_load_a_cut_leaves_a_twentieth_of_the_limit() -> None:
    assert rate_of(after(fresh(), LIMIT, NOW, NOW + 2, NOW + 4), RULES) == 5


def cut_once() -> AdaptiveRate:
    return after(at_rate(64), LIMIT, *steady(64, 1)[:3])


def test_it_is_cut_once_in_a_reaction_time() -> None:
    once = cut_once()
    row = after(once, LIMIT, *steady(40, 1, NOW + 0.1)[:36])
    assert row.allowed == once.allowed
    assert rate_of(after(row, LIMIT, once.cut_at + REACTION_SECONDS), RULES) < rate_of(once, RULES)


def test_attempts_of_before_a_cut_do_not_count_again() -> None:
    once = cut_once()
    late = steady(64, 5, once.cut_at + 2 * REACTION_SECONDS)
    assert after(once, LIMIT, *late, cuts=0).allowed == once.allowed
    mixed = after(once, LIMIT, *late[:50], cuts=0)
    assert after(mixed, LIMIT, *late[50:52]).allowed == once.allowed
    assert rate_of(after(mixed, LIMIT, *late[50:53]), RULES) < rate_of(once, RULES)


@pytest.mark.parametrize("skew", [-600.0, 600.0])
def test_the_clock_of_a_worker_changes_nothing(skew: float) -> None:
    row = fresh()
    for number, now in enumerate(steady(10, 1)[:3]):
        told = attempt(f"v{number}", LIMIT, at=now + skew, seconds=QUICK, cuts=row.cuts)
        row = adapt(row, told, RULES, now)
    assert rate_of(row, RULES) < 100


@pytest.mark.parametrize("code", [SERVER, TIMEOUT, BLOCK, ErrorCode.RATE_LIMIT_ACCOUNT])
def test_other_trouble_is_believed_of_several_videos_and_when_it_is_no_exception(
    code: ErrorCode,
) -> None:
    assert rate_of(after(fresh(), code, NOW, NOW + 0.1), RULES) == 100
    assert rate_of(after(fresh(), code, NOW, NOW + 0.1, NOW + 0.2), RULES) < 100
    busy = after(fresh(), None, *steady(20, 2))
    assert rate_of(after(busy, code, *steady(20, 1, NOW + 2)[:11]), RULES) == 100
    assert rate_of(after(busy, code, *steady(20, 1, NOW + 2)[:12]), RULES) < 100


def test_one_video_in_trouble_again_and_again_is_no_sign() -> None:
    row = fresh()
    for step in range(20):
        row = adapt(row, attempt("same", SERVER, at=NOW + step / 5, seconds=QUICK), RULES, NOW + 4)
    assert rate_of(row, RULES) == 100


@pytest.mark.parametrize(
    "code", [GONE, CHANGED, ErrorCode.NETWORK_DNS, ErrorCode.NETWORK_CONNECTION]
)
def test_what_has_nothing_to_do_with_the_rate_cuts_nothing(code: ErrorCode) -> None:
    assert rate_of(after(fresh(), code, *steady(10, 3)), RULES) == 100


def test_nothing_is_cut_below_the_floor_or_the_limit() -> None:
    row = after(fresh(), LIMIT, *steady(4, 60))
    assert rate_of(row, RULES) == RULES.floor
    low = msgspec.structs.replace(RULES, limit=0.3)
    assert after(fresh(), LIMIT, *steady(4, 2), rules=low).allowed is None


def test_a_limit_that_is_lower_now_counts_at_once() -> None:
    assert rate_of(at_rate(64), msgspec.structs.replace(RULES, limit=10)) == 10


# Slow answers


def answers(row: AdaptiveRate, seconds: float, count: int, begin: float) -> AdaptiveRate:
    times = (begin + number / 20 for number in range(count))
    return after(row, None, *times, seconds=seconds)


def test_answers_that_take_much_longer_than_usual_cut_a_little() -> None:
    usual = answers(fresh(), 0.4, 100, NOW)
    slow = answers(usual, 1.2, LATENCIES, NOW + 20)
    assert rate_of(slow, RULES) == pytest.approx(BACKOFF * 100)
    assert slow.reason == TIMEOUT
    assert rate_of(answers(slow, 1.2, LATENCIES - 1, NOW + 23), RULES) >= BACKOFF * 100
    assert rate_of(answers(slow, 1.2, 2 * LATENCIES, NOW + 23), RULES) < BACKOFF * 100


@pytest.mark.parametrize(
    ("usual", "now"),
    [(0.4, 0.8), (0.02, 0.4), (2.0, 3.9)],
    ids=["twice", "still quick", "not much"],
)
def test_answers_that_vary_cut_nothing(usual: float, now: float) -> None:
    row = answers(answers(fresh(), usual, 100, NOW), now, LATENCIES, NOW + 20)
    assert rate_of(row, RULES) == 100


def test_what_lasts_becomes_the_usual() -> None:
    row = answers(answers(fresh(), 0.4, 10, NOW), 1.2, 1_000, NOW + 20)
    assert row.latency == pytest.approx(1.2, rel=0.05)
    one = answers(answers(fresh(), 0.4, 10, NOW), 1.2, 1, NOW + 20)
    assert one.latency == pytest.approx(0.4 + 0.8 * BASELINE_WEIGHT)


# The way back


def test_success_restores_it_slowly_below_the_knee_and_faster_beyond() -> None:
    row = at_rate(10, knee=20.0, grown_at=NOW, cut_at=NOW - 60)
    below = after(row, None, *steady(1, 6))
    assert rate_of(below, RULES) == pytest.approx(10 + 5 * 20 / 100)
    beyond = after(msgspec.structs.replace(row, knee=10.0), None, *steady(1, 6))
    assert rate_of(beyond, RULES) == pytest.approx(10 + 5 * 100 / 100)


def test_content_errors_are_successes() -> None:
    row = at_rate(10, grown_at=NOW, cut_at=NOW - 60)
    assert after(row, GONE, NOW + 1).allowed == after(row, None, NOW + 1).allowed
    assert (after(row, GONE, NOW + 1).allowed or 0) > 10


def test_it_does_not_grow_by_idle_time() -> None:
    row = at_rate(10, grown_at=NOW, cut_at=NOW - 60)
    late = after(row, None, NOW + 3_000)
    assert rate_of(late, RULES) == pytest.approx(10 + GROWTH_SECONDS_MAX)


def test_it_ends_at_the_limit_with_everything_forgotten() -> None:
    row = at_rate(99.5, knee=50.0, reason=LIMIT, grown_at=NOW, cut_at=NOW - 60)
    row = after(row, None, NOW + 1)
    assert (row.allowed, row.knee, row.reason, row.since) == (None, None, None, NOW + 1)


# Retry-After


def told_to_wait(row: AdaptiveRate, count: int, seconds: float, at: float = NOW) -> AdaptiveRate:
    for number in range(count):
        asked = attempt(f"v{number}", LIMIT, at=at, seconds=QUICK, retry_after_seconds=seconds)
        row = adapt(row, asked, RULES, at)
    return row


def test_several_videos_that_are_told_to_wait_make_all_wait() -> None:
    assert told_to_wait(fresh(), 2, 30).until is None
    row = told_to_wait(fresh(), 3, 30)
    assert row.until == NOW + 30
    assert state_of(row).until == moment(NOW + 30)
    assert told_to_wait(fresh(), 3, 1e9).until == NOW + RULES.pause_seconds_max


def test_a_few_refusals_among_many_successes_make_nobody_wait() -> None:
    busy = after(fresh(), None, *steady(50, 2))
    assert told_to_wait(busy, 11, 30, NOW + 2).until is None
    assert told_to_wait(busy, 12, 30, NOW + 2).until == NOW + 32


def test_a_pause_is_not_prolonged_by_moments() -> None:
    row = told_to_wait(fresh(), 3, 30)
    assert told_to_wait(row, 1, 30, NOW + 0.9).until == NOW + 30
    assert told_to_wait(row, 1, 30, NOW + 2).until == NOW + 32


def test_a_pause_ends_and_with_it_its_reason() -> None:
    row = at_rate(None, until=NOW + 30, reason=LIMIT)
    assert tidied(row, RULES, NOW + 29).until == NOW + 30
    over = tidied(row, RULES, NOW + 30)
    assert (over.until, over.reason) == (None, None)
    assert tidied(msgspec.structs.replace(row, allowed=5.0), RULES, NOW + 30).reason == LIMIT


# A clock that was ahead and is set back


HOUR = 3_600.0


def from_ahead() -> AdaptiveRate:
    """A rate that was cut, and paused, by a clock that was an hour ahead."""
    row = after(fresh(), None, *steady(10, 2, NOW + HOUR))
    return told_to_wait(row, 12, 1e9, NOW + HOUR + 2)


def test_a_pause_from_ahead_is_no_longer_than_any() -> None:
    row = tidied(from_ahead(), RULES, NOW)
    assert row.until == NOW + RULES.pause_seconds_max
    assert tidied(row, RULES, NOW + 1).until == row.until
    assert tidied(row, RULES, NOW + RULES.pause_seconds_max).until is None


def test_a_rate_that_was_cut_ahead_grows_again() -> None:
    row = from_ahead()
    assert rate_of(row, RULES) < 10
    assert rate_of(after(row, None, *steady(10, 200)), RULES) == RULES.limit


def test_a_rate_that_was_cut_ahead_is_cut_again() -> None:
    row = after(from_ahead(), None, *steady(10, 5))
    before = rate_of(row, RULES)
    assert rate_of(after(row, LIMIT, *steady(50, 1, NOW + 5)), RULES) < before


def test_what_went_well_ahead_does_not_count_for_long() -> None:
    row = tidied(from_ahead(), RULES, NOW)
    assert handles_limits(row, RULES, NOW)
    assert not handles_limits(row, RULES, NOW + HANDLED_SECONDS + 1)
    assert is_idle(row, HOUR, NOW + HOUR)


@given(st.floats(-1e5, 1e5))
def test_nothing_lies_ahead_whatever_the_clock_does(step: float) -> None:
    now = NOW + HOUR + step
    row = tidied(from_ahead(), RULES, now)
    assert max(row.cut_at, row.grown_at, row.well_at, row.active_at) <= now
    assert all(each.at <= now for each in row.window)
    assert row.until is None or now < row.until <= now + RULES.pause_seconds_max
    assert tidied(row, RULES, now) == row


# What is left to it


@pytest.mark.parametrize(
    ("allowed", "well_at", "handles"),
    [
        (None, NOW, True),
        (2.0, NOW - HANDLED_SECONDS, True),
        (2.0, NOW - HANDLED_SECONDS - 0.1, False),
        (1.0, NOW, False),
    ],
)
def test_429_is_its_business_while_it_can_do_something(
    allowed: float | None, well_at: float, *, handles: bool
) -> None:
    assert handles_limits(at_rate(allowed, well_at=well_at), RULES, NOW) is handles


# What is kept and told


def test_workers_are_told_two_digits() -> None:
    told = state_of(at_rate(12.345, reason=LIMIT))
    assert (told.requests_per_second, told.reason, told.name) == (12, LIMIT, "tiktok:extract:a")
    assert state_of(at_rate(0.5678)).requests_per_second == 0.57
    assert state_of(fresh()).requests_per_second is None


def test_a_row_is_bounded_and_is_read_as_it_was_written() -> None:
    row = after(fresh(), LIMIT, *steady(100, 5))
    assert len(row.window) == CALLS_MAX
    assert decode(encode(row), AdaptiveRate) == row
    assert tidied(row, RULES, NOW + 5 + SECONDS_MAX).window == ()


def test_a_rate_is_idle_when_nothing_happened() -> None:
    row = after(fresh(), None, NOW + 5)
    assert not is_idle(row, 10, NOW + 14.9)
    assert is_idle(row, 10, NOW + 15)


# Whatever happens

CODES = st.sampled_from([None, None, None, LIMIT, SERVER, BLOCK, GONE, TIMEOUT, CHANGED])
HEARD = st.tuples(
    st.floats(0, 20), CODES, st.integers(0, 5), st.floats(0, 30), st.none() | st.floats(-5, 500)
)


@given(st.lists(HEARD, max_size=60), st.floats(0.1, 500), st.floats(0.1, 50))
def test_it_stays_in_bounds_and_moves_the_right_way(
    heard: list[tuple[float, ErrorCode | None, int, float, float | None]],
    limit: float,
    floor: float,
) -> None:
    rules = msgspec.structs.replace(RULES, limit=limit, floor=floor)
    row, now = fresh(), NOW
    for wait, code, video, seconds, asked in heard:
        now += wait
        before = rate_of(row, rules)
        told = attempt(
            video, code, at=now, seconds=seconds, retry_after_seconds=asked, cuts=row.cuts
        )
        row = adapt(row, told, rules, now)
        allowed = rate_of(row, rules)
        assert min(floor, limit) <= allowed <= limit
        if code is None or code == GONE:
            assert allowed >= BACKOFF * before - 1e-9
        else:
            assert allowed <= before
        assert row.until is None or row.until <= now + rules.pause_seconds_max
        assert (row.allowed is None) <= (row.knee is None)


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40), st.floats(1, 99))
def test_success_alone_never_takes_anything(waits: list[float], allowed: float) -> None:
    row, now = at_rate(allowed, grown_at=NOW, cut_at=NOW - 60), NOW
    for wait in waits:
        now += wait
        before = rate_of(row, RULES)
        row = after(row, None, now)
        assert rate_of(row, RULES) >= before
