from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.recovery.decide import decide
from agents.recovery.decisions import (
    Backoff,
    Change,
    DeadLetter,
    Decision,
    Fail,
    Park,
    RecoveryOptions,
)
from agents.recovery.retry_policy import HOUR, POLICIES, RetryPolicy
from agents.resilience.breaker_rules import FAILURES
from schemas.errors import ErrorCode
from schemas.events import Failure
from schemas.request import Options
from schemas.signals import BreakerState
from tests.unit.agents.builders import WRITTEN_AT
from tests.unit.agents.recovery.cases import (
    ACCOUNTS,
    DAY,
    FORMATS,
    NOW,
    breaker,
    changed_attempts,
    counted_attempts,
    download_failure,
    extraction_failure,
    parking,
    recovery_options,
)

OUTAGE_CODES = [code for code in ErrorCode if POLICIES[code].outage]
RETRIED_CODES = [code for code in ErrorCode if POLICIES[code].waits and code not in OUTAGE_CODES]
OTHER_CODES = [code for code in ErrorCode if code not in OUTAGE_CODES]
DNS = ErrorCode.NETWORK_DNS
API = ErrorCode.RATE_LIMIT_API
BLOCK = ErrorCode.RATE_LIMIT_IP_BLOCK
GEO = ErrorCode.CONTENT_GEO_BLOCKED
LOGIN = ErrorCode.CONTENT_LOGIN_REQUIRED
LIMITED = ErrorCode.RATE_LIMIT_ACCOUNT
EXPIRED = ErrorCode.CONTENT_LINK_EXPIRED
TIMEOUT = ErrorCode.NETWORK_TIMEOUT
CHANGED = ErrorCode.PLATFORM_CHANGED
STORAGE = ErrorCode.SYSTEM_STORAGE


def decision_for(
    failure: Failure,
    *,
    now: datetime = NOW,
    total: timedelta = DAY,
    jitter: float = 0.2,
    uniform: float = 0.0,
    **context: Any,
) -> Decision:
    return decide(failure, now=now, total=total, jitter=jitter, uniform=uniform, **context)


def wait_seconds(decision: Decision, now: datetime = NOW) -> float:
    assert isinstance(decision, Backoff | Park | Change)
    return (decision.due - now).total_seconds()


def park_decision(seconds: float, code: ErrorCode) -> Park:
    return Park(due=NOW + timedelta(seconds=seconds), code=code)


def backoff_decision(seconds: float) -> Backoff:
    return Backoff(due=NOW + timedelta(seconds=seconds))


def checked_change(
    decision: Decision, strategy: str, *, seconds: float = 0, counted: bool
) -> Change:
    assert isinstance(decision, Change)
    assert (decision.strategy, decision.counted) == (strategy, counted)
    assert wait_seconds(decision) == seconds
    return decision


# Waits

WAITS = [
    pytest.param(code, before, wait, id=f"{code}-{before}")
    for code in RETRIED_CODES
    for before, wait in enumerate(POLICIES[code].waits)
]


@pytest.mark.parametrize(("code", "before", "wait"), WAITS)
def test_each_attempt_has_its_backoff(code: ErrorCode, before: int, wait: float) -> None:
    assert decision_for(
        extraction_failure(code, attempts=counted_attempts(code, before))
    ) == backoff_decision(wait)


@pytest.mark.parametrize("code", OTHER_CODES)
def test_failure_after_the_last_wait_is_final(code: ErrorCode) -> None:
    policy = POLICIES[code]
    used = counted_attempts(code, len(policy.waits)) + changed_attempts(code, policy.changes)
    decision = decision_for(
        extraction_failure(code, attempts=used), available=recovery_options("b", accounts=ACCOUNTS)
    )
    assert decision == (DeadLetter() if policy.dead_letter else Fail())


def test_attempts_of_other_codes_and_steps_do_not_count() -> None:
    other_attempts = counted_attempts(TIMEOUT, 4, step="download") + counted_attempts(DNS, 4)
    assert decision_for(extraction_failure(TIMEOUT, attempts=other_attempts)) == backoff_decision(5)
    assert decision_for(
        extraction_failure(TIMEOUT, attempts=changed_attempts(TIMEOUT, 3))
    ) == backoff_decision(5)


@pytest.mark.parametrize(("uniform", "wait"), [(0.0, 5.0), (0.5, 5.5), (1.0, 6.0)])
def test_jitter_only_lengthens_waits(uniform: float, wait: float) -> None:
    assert decision_for(extraction_failure(DNS), jitter=0.2, uniform=uniform) == backoff_decision(
        wait
    )


@pytest.mark.parametrize("code", [API, ErrorCode.NETWORK_SERVER])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 7.0, 77.0, 7_200.0])
def test_retry_after_is_honoured_exactly(code: ErrorCode, seconds: float) -> None:
    failure = extraction_failure(code, retry_after_seconds=seconds)
    assert decision_for(failure, uniform=1.0) == backoff_decision(seconds)


def test_negative_retry_after_is_zero() -> None:
    assert decision_for(extraction_failure(API, retry_after_seconds=-10)) == backoff_decision(0)


@pytest.mark.parametrize("seconds", [1e9, 1e18, 1e300])
def test_retry_after_beyond_the_total_time_fails(seconds: float) -> None:
    assert decision_for(extraction_failure(API, retry_after_seconds=seconds)) == Fail()


def test_retry_after_does_not_make_final_errors_retry() -> None:
    assert (
        decision_for(extraction_failure(ErrorCode.CONTENT_NOT_FOUND, retry_after_seconds=5))
        == Fail()
    )


def test_policies_are_configurable() -> None:
    policies = {DNS: RetryPolicy(waits=(1, 2))}
    assert decision_for(
        extraction_failure(DNS, attempts=counted_attempts(DNS, 1)), policies=policies
    ) == backoff_decision(2)


# Outages

OUTAGES = [
    pytest.param(code, times, wait, id=f"{code}-{times}")
    for code in OUTAGE_CODES
    for times, wait in (*enumerate(POLICIES[code].waits), (500, POLICIES[code].waits[-1]))
]


@pytest.mark.parametrize(("code", "times", "wait"), OUTAGES)
def test_outages_park_without_counting_attempts(code: ErrorCode, times: int, wait: float) -> None:
    failure = extraction_failure(
        code, parked=parking(times, code) if times else None, attempts=counted_attempts(code, 99)
    )
    assert decision_for(failure) == park_decision(wait, code)
    assert decision_for(failure, uniform=1.0) == park_decision(1.2 * wait, code)


@pytest.mark.parametrize(("times", "wait"), [(0, 2), (1, 3), (2, 5), (3, 8), (4, 8)])
def test_outage_waits_advance_to_the_last(times: int, wait: float) -> None:
    policies = {STORAGE: RetryPolicy(waits=(2, 3, 5, 8), outage=True)}
    failure = extraction_failure(STORAGE, parked=parking(times, STORAGE) if times else None)
    assert decision_for(failure, policies=policies) == park_decision(wait, STORAGE)


def test_another_outage_starts_at_its_first_wait() -> None:
    failure = extraction_failure(STORAGE, parked=parking(9, ErrorCode.SYSTEM_DISK_FULL))
    assert decision_for(failure) == park_decision(30, STORAGE)


@pytest.mark.parametrize("code", OUTAGE_CODES)
@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1.0])
def test_parked_outage_never_spins(code: ErrorCode, seconds: float) -> None:
    decision = decision_for(
        extraction_failure(code, parked=parking(3, code), retry_after_seconds=seconds)
    )
    assert wait_seconds(decision) == POLICIES[code].waits[-1]


def test_outage_honours_retry_after() -> None:
    failure = extraction_failure(STORAGE, retry_after_seconds=3 * HOUR)
    assert decision_for(failure) == park_decision(3 * HOUR, STORAGE)


def test_outage_with_zero_wait_waits_one_second() -> None:
    policies = {STORAGE: RetryPolicy(waits=(0,), outage=True)}
    assert decision_for(extraction_failure(STORAGE), policies=policies) == park_decision(1, STORAGE)


def test_last_retry_of_an_outage_is_at_the_end_of_the_total_time() -> None:
    last = WRITTEN_AT + DAY - timedelta(milliseconds=1)
    assert decision_for(extraction_failure(STORAGE), now=last) == Park(
        due=WRITTEN_AT + DAY, code=STORAGE
    )
    assert decision_for(extraction_failure(STORAGE, retry_after_seconds=1e300)) == Park(
        due=WRITTEN_AT + DAY, code=STORAGE
    )
    assert decision_for(extraction_failure(STORAGE), now=WRITTEN_AT + DAY) == Fail()


# Total time and deadline


def test_total_time_bounds_retries_exactly() -> None:
    last = WRITTEN_AT + DAY - timedelta(seconds=5)
    assert wait_seconds(decision_for(extraction_failure(DNS), now=last), last) == 5
    assert decision_for(extraction_failure(DNS), now=last + timedelta(milliseconds=1)) == Fail()


def test_no_retry_after_the_total_time() -> None:
    late = WRITTEN_AT + DAY + timedelta(seconds=5)
    assert decision_for(extraction_failure(API, retry_after_seconds=0), now=late) == Fail()
    assert decision_for(extraction_failure(API, retry_after_seconds=-10), now=late) == Fail()
    assert decision_for(extraction_failure(ErrorCode.INTERNAL_BUG), now=late) == DeadLetter()


def test_no_change_after_the_total_time() -> None:
    end = WRITTEN_AT + DAY
    other = recovery_options("b")
    assert wait_seconds(decision_for(extraction_failure(GEO), now=end, available=other), end) == 0
    assert (
        decision_for(extraction_failure(GEO), now=end + timedelta(milliseconds=1), available=other)
        == Fail()
    )


@pytest.mark.parametrize(("seconds", "wait"), [(2, 2), (-7_200, 0), (90_000, 5)])
def test_retry_is_due_no_later_than_the_deadline(seconds: float, wait: float) -> None:
    failure = extraction_failure(DNS, deadline=NOW + timedelta(seconds=seconds))
    assert wait_seconds(decision_for(failure)) == wait


# Breakers


@pytest.mark.parametrize(
    ("state", "shortest", "longest"),
    [
        (None, 1, 2),
        (breaker("closed"), 1, 2),
        (breaker("half_open"), 0.5, 2),
        (breaker("open", 42), 42, 43),
        (breaker("open", -1), 0.5, 2),
        (breaker("open"), 30, 31),
        (breaker("forced_open"), 30, 31),
    ],
)
@pytest.mark.parametrize("code", [API, GEO, ErrorCode.INTERNAL_BUG, CHANGED])
def test_not_permitted_failure_waits_for_the_breaker(
    state: BreakerState | None, shortest: float, longest: float, code: ErrorCode
) -> None:
    used = counted_attempts(code, 99) + changed_attempts(code, 99)
    failure = extraction_failure(code, permitted=False, attempts=used)
    assert decision_for(failure, breaker=state) == park_decision(shortest, code)
    assert decision_for(failure, breaker=state, uniform=1.0) == park_decision(longest, code)


def test_rate_limited_failure_waits_and_keeps_its_egress() -> None:
    failure = extraction_failure(API, permitted=False, retry_after_seconds=42.5)
    for state in (None, breaker("closed")):
        assert decision_for(
            failure, breaker=state, available=recovery_options("a", "b")
        ) == park_decision(42.5, API)


def test_not_permitted_failure_is_parked_until_the_total_time() -> None:
    end = WRITTEN_AT + DAY
    failure = extraction_failure(API, permitted=False)
    for state in (None, breaker("forced_open")):
        last = end - timedelta(milliseconds=1)
        assert decision_for(failure, now=last, breaker=state) == Park(due=end, code=API)
        assert decision_for(failure, now=end, breaker=state) == Fail()


def test_not_permitted_failure_switches_egress_at_once() -> None:
    failure = extraction_failure(API, permitted=False)
    state = breaker("open", 42)
    assert decision_for(
        failure, breaker=state, available=recovery_options("a", "b")
    ) == park_decision(0, API)
    assert decision_for(failure, breaker=state, available=recovery_options("a")) == park_decision(
        42, API
    )
    avoiding = extraction_failure(API, permitted=False, avoid_egress=("b",))
    assert decision_for(avoiding, breaker=state, available=recovery_options("b")) == park_decision(
        42, API
    )


@pytest.mark.parametrize(("times", "seconds"), [(1, 42), (2, 0), (3, 42), (4, 0)])
def test_switching_egress_does_not_spin(times: int, seconds: float) -> None:
    failure = extraction_failure(API, permitted=False, parked=parking(times, API))
    decision = decision_for(failure, breaker=breaker("open", 42), available=recovery_options("b"))
    assert decision == park_decision(seconds, API)


@pytest.mark.parametrize("state", ["open", "half_open", "forced_open"])
@pytest.mark.parametrize("code", sorted(FAILURES))
def test_failure_behind_an_open_breaker_counts_no_attempt(code: ErrorCode, state: str) -> None:
    used = counted_attempts(code, 99)
    decision = decision_for(extraction_failure(code, attempts=used), breaker=breaker(state, 42))
    assert decision == park_decision({"open": 42, "half_open": 0.5, "forced_open": 30}[state], code)


@pytest.mark.parametrize("code", sorted(set(RETRIED_CODES) - FAILURES))
def test_failure_that_breakers_do_not_count_is_retried(code: ErrorCode) -> None:
    assert decision_for(extraction_failure(code), breaker=breaker("open", 42)) == backoff_decision(
        POLICIES[code].waits[0]
    )


def test_failure_with_a_closed_breaker_is_retried() -> None:
    assert decision_for(extraction_failure(DNS), breaker=breaker("closed")) == backoff_decision(5)


def test_wait_is_no_longer_than_the_remaining_open_time() -> None:
    assert decision_for(extraction_failure(DNS), breaker=breaker("open", 0.25)) == park_decision(
        0.25, DNS
    )


def test_longer_of_breaker_wait_and_retry_after_counts() -> None:
    for retry_after, seconds in ((7.0, 42), (77.0, 77)):
        failure = extraction_failure(API, retry_after_seconds=retry_after)
        assert decision_for(failure, breaker=breaker("open", 42)) == park_decision(seconds, API)


def test_open_breaker_with_another_egress_does_not_wait() -> None:
    decision = decision_for(
        extraction_failure(DNS), breaker=breaker("open", 42), available=recovery_options("b")
    )
    assert decision == park_decision(0, DNS)


@pytest.mark.parametrize(("budget", "uniform", "wait"), [(3, 0, 5), (60, 0, 60), (60, 1, 61)])
def test_retries_wait_for_the_retry_budget(budget: float, uniform: float, wait: float) -> None:
    state = breaker("closed", budget=budget)
    assert decision_for(
        extraction_failure(DNS), breaker=state, uniform=uniform, jitter=0
    ) == backoff_decision(wait)


def test_retry_budget_beyond_the_total_time_allows_a_last_retry() -> None:
    state = breaker("closed", budget=2 * DAY.total_seconds())
    assert decision_for(extraction_failure(DNS), breaker=state) == Backoff(due=WRITTEN_AT + DAY)


# Changes


@pytest.mark.parametrize("code", [API, BLOCK, GEO])
def test_another_egress_is_used_at_once(code: ErrorCode) -> None:
    failure = extraction_failure(code, retry_after_seconds=7)
    change = checked_change(
        decision_for(failure, available=recovery_options("b")), "other_egress", counted=False
    )
    assert change.changes.avoid_egress == ("a",)
    state = breaker("open", 42)
    assert decision_for(failure, available=recovery_options("b"), breaker=state) == change


@pytest.mark.parametrize(("code", "wait"), [(API, 5), (BLOCK, 600)])
def test_rate_limit_without_another_egress_backs_off(code: ErrorCode, wait: float) -> None:
    assert decision_for(
        extraction_failure(code), available=recovery_options("a")
    ) == backoff_decision(wait)
    moved = extraction_failure(code, attempts=changed_attempts(code, 1), avoid_egress=("b",))
    assert decision_for(moved, available=recovery_options("a", "b")) == backoff_decision(wait)


@pytest.mark.parametrize(("before", "changes"), [(4, True), (5, False), (6, False)])
def test_egress_changes_are_bounded(before: int, changes: bool) -> None:
    failure = extraction_failure(API, attempts=changed_attempts(API, before))
    assert isinstance(decision_for(failure, available=recovery_options("b")), Change) is changes


@pytest.mark.parametrize("code", [GEO, LOGIN, ErrorCode.CONTENT_AGE_RESTRICTED])
def test_refused_content_is_retried_once_with_a_change(code: ErrorCode) -> None:
    available = recovery_options("b", accounts=ACCOUNTS)
    change = decision_for(extraction_failure(code), available=available)
    strategy = "other_egress" if code is GEO else "authenticate"
    assert checked_change(change, strategy, counted=False).restart == "extraction"
    again = extraction_failure(code, attempts=changed_attempts(code, 1), authenticate=True)
    assert decision_for(again, available=available) == Fail()
    assert decision_for(extraction_failure(code)) == Fail()


@pytest.mark.parametrize("code", [LOGIN, ErrorCode.CONTENT_AGE_RESTRICTED, LIMITED])
@pytest.mark.parametrize(("before", "changes"), [(0, True), (1, True), (2, True), (3, False)])
def test_account_changes_are_bounded(code: ErrorCode, before: int, changes: bool) -> None:
    used = changed_attempts(code, before)
    failure = extraction_failure(code, attempts=used, authenticate=True, account="main")
    decision = decision_for(failure, available=recovery_options(accounts=ACCOUNTS))
    if changes:
        checked_change(decision, "other_account", counted=False)
    else:
        assert decision == (backoff_decision(600) if code is LIMITED else Fail())


def test_limited_account_without_another_backs_off() -> None:
    failure = extraction_failure(LIMITED, authenticate=True, account="main")
    assert decision_for(
        failure, available=recovery_options("b", accounts=("main",))
    ) == backoff_decision(600)
    spent = extraction_failure(
        LIMITED, authenticate=True, account="main", attempts=counted_attempts(LIMITED, 1)
    )
    assert decision_for(spent, available=recovery_options("b", accounts=("main",))) == Fail()


def test_exhausted_accounts_park_without_counting_attempts() -> None:
    failure = extraction_failure(
        LIMITED,
        permitted=False,
        retry_after_seconds=1_234.5,
        has_endpoint=False,
        authenticate=True,
        attempts=counted_attempts(LIMITED, 9),
    )
    available = recovery_options("a", "b", accounts=ACCOUNTS)
    assert decision_for(failure, available=available) == park_decision(1_234.5, LIMITED)


def test_expired_link_rereads_the_page_then_changes_the_format() -> None:
    available = recovery_options(formats=FORMATS)
    checked_change(
        decision_for(download_failure(), available=available), "fresh_extraction", counted=False
    )
    second = download_failure(page_reread=True)
    checked_change(decision_for(second, available=available), "other_format", counted=False)
    assert decision_for(second, available=recovery_options(formats=FORMATS[:1])) == Fail()
    many = download_failure(
        page_reread=True, attempts=changed_attempts(EXPIRED, 38, step="download")
    )
    checked_change(decision_for(many, available=available), "other_format", counted=False)
    last = download_failure(
        page_reread=True, attempts=changed_attempts(EXPIRED, 39, step="download")
    )
    assert decision_for(last, available=available) == Fail()


def test_option_changes_without_matching_formats_are_bounded() -> None:
    code = ErrorCode.CONTENT_NO_FORMATS
    options = Options(codec="h265", container="webm")
    for before, changes in ((0, True), (1, True), (2, False)):
        used = changed_attempts(code, before, "selection")
        failure = extraction_failure(
            code, step="selection", has_endpoint=False, options=options, attempts=used
        )
        assert isinstance(decision_for(failure), Change) is changes


@pytest.mark.parametrize(("before", "wait"), [(1, 30), (2, 120), (3, 600)])
def test_second_download_timeout_lowers_the_quality(before: int, wait: float) -> None:
    failure = download_failure(TIMEOUT, attempts=counted_attempts(TIMEOUT, before, "download"))
    change = checked_change(
        decision_for(failure, available=recovery_options(formats=FORMATS)),
        "lower_quality",
        seconds=wait,
        counted=True,
    )
    assert change.changes.changed == {"quality": "best -> 720p"}
    assert change.restart == "extraction"


def test_first_timeout_or_no_smaller_format_retries_unchanged() -> None:
    assert decision_for(
        download_failure(TIMEOUT), available=recovery_options(formats=FORMATS)
    ) == backoff_decision(5)
    again = download_failure(TIMEOUT, attempts=counted_attempts(TIMEOUT, 1, "download"))
    assert decision_for(again, available=recovery_options(formats=FORMATS[:1])) == backoff_decision(
        30
    )
    other = download_failure(DNS, attempts=counted_attempts(DNS, 1, "download"))
    assert decision_for(other, available=recovery_options(formats=FORMATS)) == backoff_decision(30)


def test_lower_quality_waits_for_the_retry_budget() -> None:
    failure = download_failure(TIMEOUT, attempts=counted_attempts(TIMEOUT, 1, "download"))
    state = breaker("closed", budget=60)
    decision = decision_for(failure, available=recovery_options(formats=FORMATS), breaker=state)
    checked_change(decision, "lower_quality", seconds=60, counted=True)


# Properties

AVAILABLE = st.builds(
    RecoveryOptions,
    egresses=st.lists(st.sampled_from("abc"), unique=True).map(tuple),
    accounts=st.lists(st.sampled_from(["main", "spare"]), unique=True).map(tuple),
)
SPAN = st.integers(-100_000, 100_000)
BREAKERS = st.none() | st.builds(
    breaker,
    st.sampled_from(["closed", "open", "half_open", "forced_open"]),
    st.none() | SPAN,
    st.none() | SPAN,
)


@given(
    code=st.sampled_from(ErrorCode),
    before=st.integers(0, 8),
    age=st.timedeltas(timedelta(), timedelta(days=2)),
    total=st.timedeltas(timedelta(), timedelta(days=3)),
    jitter=st.floats(0, 0.5),
    uniform=st.floats(0, 1),
    retry_after=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    deadline=st.none() | st.timedeltas(timedelta(days=-2), timedelta(days=3)),
    permitted=st.booleans(),
    state=BREAKERS,
    available=AVAILABLE,
)
def test_decision_is_deterministic_and_within_bounds(
    *,
    code: ErrorCode,
    before: int,
    age: timedelta,
    total: timedelta,
    jitter: float,
    uniform: float,
    retry_after: float | None,
    deadline: timedelta | None,
    permitted: bool,
    state: BreakerState | None,
    available: RecoveryOptions,
) -> None:
    now = WRITTEN_AT + age
    failure = extraction_failure(
        code,
        attempts=counted_attempts(code, before),
        retry_after_seconds=retry_after,
        deadline=None if deadline is None else now + deadline,
        permitted=permitted,
    )
    context: dict[str, Any] = {"breaker": state, "available": available}
    bounds: dict[str, Any] = {"now": now, "total": total, "jitter": jitter, "uniform": uniform}
    decision = decision_for(failure, **bounds, **context)
    assert decision == decision_for(failure, **bounds, **context)
    if isinstance(decision, Backoff | Park | Change):
        assert now <= decision.due <= WRITTEN_AT + total
        assert permitted or isinstance(decision, Park)
    else:
        assert isinstance(decision, DeadLetter) is POLICIES[code].dead_letter
        assert permitted or age >= total


@given(code=st.sampled_from(RETRIED_CODES), before=st.integers(0, 6), uniform=st.floats(0, 1))
def test_waits_never_get_shorter(code: ErrorCode, before: int, uniform: float) -> None:
    first = decision_for(
        extraction_failure(code, attempts=counted_attempts(code, before)), uniform=uniform
    )
    second = decision_for(
        extraction_failure(code, attempts=counted_attempts(code, before + 1)), uniform=uniform
    )
    if isinstance(first, Backoff) and isinstance(second, Backoff):
        assert first.due <= second.due
    assert isinstance(first, Backoff) or not isinstance(second, Backoff)


@given(received=st.datetimes(timezones=st.just(WRITTEN_AT.tzinfo)), code=st.sampled_from(ErrorCode))
def test_any_arrival_time_is_decided(received: datetime, code: ErrorCode) -> None:
    decision_for(extraction_failure(code, received_at=received), available=recovery_options("b"))
