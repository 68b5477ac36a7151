from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.resilience.decision import DeadLetter, Decision, Fail, Retry, decide
from agents.resilience.policy import HOUR, POLICIES
from schemas.errors import ErrorCode
from schemas.job import Attempt
from tests.unit.agents.builders import (
    WRITTEN_AT,
    make_attempt,
    make_failure,
    validated,
)

DAY = timedelta(days=1)
NOW = WRITTEN_AT + timedelta(seconds=60)
ALWAYS = [code for code in ErrorCode if POLICIES[code].repeat_last]
COUNTED = [code for code in ErrorCode if POLICIES[code].waits and code not in ALWAYS]


def decided(
    code: ErrorCode,
    attempts: tuple[Attempt, ...] = (),
    *,
    now: datetime = NOW,
    total: timedelta = DAY,
    jitter: float = 0.2,
    chance: float = 0.0,
    retry_after: float | None = None,
    **changes: Any,
) -> Decision:
    event = validated(attempts=attempts, **changes)
    failure = make_failure(code, event, retry_after_seconds=retry_after)
    return decide(failure, now, total=total, jitter=jitter, chance=chance)


def wait_of(decision: Decision, now: datetime = NOW) -> float:
    assert isinstance(decision, Retry)
    return (decision.due - now).total_seconds()


def tried(code: ErrorCode, times: int, step: str = "extraction") -> tuple[Attempt, ...]:
    return (make_attempt(code, step),) * times


WAITS = [
    pytest.param(code, before, wait, id=f"{code}-{before}")
    for code in ErrorCode
    for before, wait in enumerate(POLICIES[code].waits)
]


@pytest.mark.parametrize(("code", "before", "wait"), WAITS)
def test_each_attempt_has_its_wait(code: ErrorCode, before: int, wait: float) -> None:
    decision = decided(code, tried(code, before))
    assert wait_of(decision) == wait


@pytest.mark.parametrize("code", [code for code in ErrorCode if code not in ALWAYS])
def test_after_the_last_wait_comes_the_end(code: ErrorCode) -> None:
    policy = POLICIES[code]
    decision = decided(code, tried(code, len(policy.waits)))
    assert decision == (DeadLetter() if policy.keep else Fail())


@pytest.mark.parametrize("code", ALWAYS)
def test_outages_are_waited_out_and_use_up_nothing(code: ErrorCode) -> None:
    decision = decided(code, tried(code, 500))
    assert isinstance(decision, Retry)
    assert wait_of(decision) == POLICIES[code].waits[-1]
    assert not decision.counted


@pytest.mark.parametrize("code", COUNTED)
def test_other_retries_count(code: ErrorCode) -> None:
    decision = decided(code)
    assert isinstance(decision, Retry)
    assert decision.counted
    assert decision.fresh is (code is ErrorCode.CONTENT_LINK_EXPIRED)


def test_other_codes_and_other_steps_use_up_nothing() -> None:
    code = ErrorCode.NETWORK_TIMEOUT
    elsewhere = tried(code, 4, step="download") + tried(ErrorCode.NETWORK_DNS, 4)
    assert wait_of(decided(code, elsewhere)) == 5


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 5.0), (0.5, 5.5), (1.0, 6.0)])
def test_jitter_only_makes_waits_longer(chance: float, wait: float) -> None:
    assert wait_of(decided(ErrorCode.NETWORK_DNS, jitter=0.2, chance=chance)) == wait


@pytest.mark.parametrize("code", [ErrorCode.RATE_LIMIT_API, ErrorCode.NETWORK_SERVER])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 77.0, 7_200.0])
def test_what_the_platform_asks_for_is_done_to_the_second(code: ErrorCode, seconds: float) -> None:
    assert wait_of(decided(code, retry_after=seconds, chance=1.0)) == seconds


@pytest.mark.parametrize("code", ALWAYS)
@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1.0])
def test_what_uses_up_nothing_never_spins(code: ErrorCode, seconds: float) -> None:
    wait = wait_of(decided(code, tried(code, 3), retry_after=seconds))
    assert wait == POLICIES[code].waits[-1]


def test_an_outage_waits_as_long_as_asked() -> None:
    assert wait_of(decided(ErrorCode.PLATFORM_CHANGED, retry_after=3 * HOUR)) == 3 * HOUR


@pytest.mark.parametrize("seconds", [1e9, 1e18, 1e300])
def test_too_long_a_wait_ends_it(seconds: float) -> None:
    assert decided(ErrorCode.RATE_LIMIT_API, retry_after=seconds) == Fail()


def test_retry_after_does_not_make_final_errors_retry() -> None:
    assert decided(ErrorCode.CONTENT_NOT_FOUND, retry_after=5) == Fail()


def test_the_total_time_is_kept_to_the_second() -> None:
    last = WRITTEN_AT + DAY - timedelta(seconds=5)
    assert wait_of(decided(ErrorCode.NETWORK_DNS, now=last), last) == 5
    assert decided(ErrorCode.NETWORK_DNS, now=last + timedelta(seconds=1)) == Fail()


def test_after_the_total_time_an_outage_ends_too() -> None:
    assert decided(ErrorCode.SYSTEM_DISK_FULL, now=WRITTEN_AT + DAY) == Fail()
    assert decided(ErrorCode.INTERNAL_BUG, now=WRITTEN_AT + DAY) == DeadLetter()


def test_a_retry_is_due_at_the_deadline_at_the_latest() -> None:
    decision = decided(ErrorCode.NETWORK_DNS, deadline=NOW + timedelta(seconds=2))
    assert wait_of(decision) == 2


def test_a_deadline_that_has_passed_is_due_now() -> None:
    decision = decided(ErrorCode.NETWORK_DNS, deadline=NOW - timedelta(hours=2))
    assert wait_of(decision) == 0


def test_a_later_deadline_changes_nothing() -> None:
    assert wait_of(decided(ErrorCode.NETWORK_DNS, deadline=NOW + DAY)) == 5


def test_a_negative_wait_is_none() -> None:
    assert wait_of(decided(ErrorCode.RATE_LIMIT_API, retry_after=-10)) == 0


@given(
    code=st.sampled_from(ErrorCode),
    before=st.integers(0, 8),
    age=st.timedeltas(timedelta(), timedelta(days=2)),
    total=st.timedeltas(timedelta(), timedelta(days=3)),
    jitter=st.floats(0, 0.5),
    chance=st.floats(0, 1),
    retry_after=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    deadline=st.none() | st.timedeltas(timedelta(days=-2), timedelta(days=3)),
)
def test_every_failure_is_decided_within_its_bounds(
    *,
    code: ErrorCode,
    before: int,
    age: timedelta,
    total: timedelta,
    jitter: float,
    chance: float,
    retry_after: float | None,
    deadline: timedelta | None,
) -> None:
    now = WRITTEN_AT + age
    decision = decided(
        code,
        tried(code, before),
        now=now,
        total=total,
        jitter=jitter,
        chance=chance,
        retry_after=retry_after,
        deadline=None if deadline is None else now + deadline,
    )
    if isinstance(decision, Retry):
        assert now <= decision.due <= WRITTEN_AT + total
        assert decision.counted is not POLICIES[code].repeat_last
    else:
        assert isinstance(decision, DeadLetter) is POLICIES[code].keep


@given(
    code=st.sampled_from([code for code in ErrorCode if POLICIES[code].waits]),
    before=st.integers(0, 6),
    chance=st.floats(0, 1),
)
def test_waits_never_get_shorter(code: ErrorCode, before: int, chance: float) -> None:
    first = decided(code, tried(code, before), chance=chance)
    second = decided(code, tried(code, before + 1), chance=chance)
    if isinstance(first, Retry) and isinstance(second, Retry):
        assert first.due <= second.due
    assert isinstance(first, Retry) or not isinstance(second, Retry)


@given(received=st.datetimes(timezones=st.just(WRITTEN_AT.tzinfo)), code=st.sampled_from(ErrorCode))
def test_no_moment_of_arrival_is_too_odd(received: datetime, code: ErrorCode) -> None:
    event = validated(received_at=received)
    decide(make_failure(code, event), NOW, total=DAY, jitter=0.2, chance=0.5)
