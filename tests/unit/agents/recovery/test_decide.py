from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.recovery.decide import decide
from agents.recovery.decisions import (
    Change,
    DeadLetter,
    Decision,
    Fail,
    Park,
    RecoveryOptions,
    Retry,
)
from agents.recovery.retry_policy import HOUR, POLICIES, Policy
from agents.resilience.breaker_rules import COUNTING
from schemas.errors import ErrorCode
from schemas.failure import Failure
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
    failed,
    failed_download,
    means,
    parked,
    tried,
)

ALWAYS = [code for code in ErrorCode if POLICIES[code].outage]
COUNTED = [code for code in ErrorCode if POLICIES[code].waits and code not in ALWAYS]
NOT_ALWAYS = [code for code in ErrorCode if code not in ALWAYS]
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


def decided(
    failure: Failure,
    *,
    now: datetime = NOW,
    total: timedelta = DAY,
    jitter: float = 0.2,
    chance: float = 0.0,
    **surroundings: Any,
) -> Decision:
    return decide(failure, now=now, total=total, jitter=jitter, chance=chance, **surroundings)


def wait_of(decision: Decision, now: datetime = NOW) -> float:
    assert isinstance(decision, Retry | Park | Change)
    return (decision.due - now).total_seconds()


def parked_for(seconds: float, code: ErrorCode) -> Park:
    return Park(due=NOW + timedelta(seconds=seconds), code=code)


def retried_in(seconds: float) -> Retry:
    return Retry(due=NOW + timedelta(seconds=seconds))


def changed_by(decision: Decision, strategy: str, *, seconds: float = 0, counted: bool) -> Change:
    assert isinstance(decision, Change)
    assert (decision.strategy, decision.counted) == (strategy, counted)
    assert wait_of(decision) == seconds
    return decision


# Waits

WAITS = [
    pytest.param(code, before, wait, id=f"{code}-{before}")
    for code in COUNTED
    for before, wait in enumerate(POLICIES[code].waits)
]


@pytest.mark.parametrize(("code", "before", "wait"), WAITS)
def test_each_attempt_has_its_wait(code: ErrorCode, before: int, wait: float) -> None:
    assert decided(failed(code, attempts=tried(code, before))) == retried_in(wait)


@pytest.mark.parametrize("code", NOT_ALWAYS)
def test_after_the_last_wait_comes_the_end(code: ErrorCode) -> None:
    policy = POLICIES[code]
    used = tried(code, len(policy.waits)) + changed_attempts(code, policy.changes)
    decision = decided(failed(code, attempts=used), means=means("b", accounts=ACCOUNTS))
    assert decision == (DeadLetter() if policy.keep else Fail())


def test_other_codes_and_other_steps_use_up_nothing() -> None:
    elsewhere = tried(TIMEOUT, 4, step="download") + tried(DNS, 4)
    assert decided(failed(TIMEOUT, attempts=elsewhere)) == retried_in(5)
    assert decided(failed(TIMEOUT, attempts=changed_attempts(TIMEOUT, 3))) == retried_in(5)


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 5.0), (0.5, 5.5), (1.0, 6.0)])
def test_jitter_only_makes_waits_longer(chance: float, wait: float) -> None:
    assert decided(failed(DNS), jitter=0.2, chance=chance) == retried_in(wait)


@pytest.mark.parametrize("code", [API, ErrorCode.NETWORK_SERVER])
@pytest.mark.parametrize("seconds", [0.0, 1.0, 7.0, 77.0, 7_200.0])
def test_what_the_platform_asks_for_is_done_to_the_second(code: ErrorCode, seconds: float) -> None:
    failure = failed(code, retry_after_seconds=seconds)
    assert decided(failure, chance=1.0) == retried_in(seconds)


def test_a_negative_wait_is_none() -> None:
    assert decided(failed(API, retry_after_seconds=-10)) == retried_in(0)


@pytest.mark.parametrize("seconds", [1e9, 1e18, 1e300])
def test_too_long_a_wait_ends_it(seconds: float) -> None:
    assert decided(failed(API, retry_after_seconds=seconds)) == Fail()


def test_retry_after_does_not_make_final_errors_retry() -> None:
    assert decided(failed(ErrorCode.CONTENT_NOT_FOUND, retry_after_seconds=5)) == Fail()


def test_the_policies_can_be_others() -> None:
    policies = {DNS: Policy(waits=(1, 2))}
    assert decided(failed(DNS, attempts=tried(DNS, 1)), policies=policies) == retried_in(2)


# Outages

OUTAGES = [
    pytest.param(code, times, wait, id=f"{code}-{times}")
    for code in ALWAYS
    for times, wait in (*enumerate(POLICIES[code].waits), (500, POLICIES[code].waits[-1]))
]


@pytest.mark.parametrize(("code", "times", "wait"), OUTAGES)
def test_outages_are_waited_out_and_use_up_nothing(
    code: ErrorCode, times: int, wait: float
) -> None:
    failure = failed(code, parked=parked(times, code) if times else None, attempts=tried(code, 99))
    assert decided(failure) == parked_for(wait, code)
    assert decided(failure, chance=1.0) == parked_for(1.2 * wait, code)


@pytest.mark.parametrize(("times", "wait"), [(0, 2), (1, 3), (2, 5), (3, 8), (4, 8)])
def test_every_wait_of_a_longer_outage_is_used(times: int, wait: float) -> None:
    policies = {STORAGE: Policy(waits=(2, 3, 5, 8), outage=True)}
    failure = failed(STORAGE, parked=parked(times, STORAGE) if times else None)
    assert decided(failure, policies=policies) == parked_for(wait, STORAGE)


def test_another_outage_begins_with_its_first_wait() -> None:
    failure = failed(STORAGE, parked=parked(9, ErrorCode.SYSTEM_DISK_FULL))
    assert decided(failure) == parked_for(600, STORAGE)


@pytest.mark.parametrize("code", ALWAYS)
@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1.0])
def test_what_uses_up_nothing_never_spins(code: ErrorCode, seconds: float) -> None:
    decision = decided(failed(code, parked=parked(3, code), retry_after_seconds=seconds))
    assert wait_of(decision) == POLICIES[code].waits[-1]


def test_an_outage_waits_as_long_as_asked() -> None:
    failure = failed(STORAGE, retry_after_seconds=3 * HOUR)
    assert decided(failure) == parked_for(3 * HOUR, STORAGE)


def test_an_outage_without_a_wait_waits_a_second() -> None:
    policies = {STORAGE: Policy(waits=(0,), outage=True)}
    assert decided(failed(STORAGE), policies=policies) == parked_for(1, STORAGE)


def test_the_last_look_at_an_outage_is_at_the_very_end() -> None:
    last = WRITTEN_AT + DAY - timedelta(milliseconds=1)
    assert decided(failed(STORAGE), now=last) == Park(due=WRITTEN_AT + DAY, code=STORAGE)
    assert decided(failed(STORAGE, retry_after_seconds=1e300)) == Park(
        due=WRITTEN_AT + DAY, code=STORAGE
    )
    assert decided(failed(STORAGE), now=WRITTEN_AT + DAY) == Fail()


# The end of the time


def test_the_total_time_is_kept_to_the_second() -> None:
    last = WRITTEN_AT + DAY - timedelta(seconds=5)
    assert wait_of(decided(failed(DNS), now=last), last) == 5
    assert decided(failed(DNS), now=last + timedelta(milliseconds=1)) == Fail()


def test_after_the_total_time_no_wait_is_short_enough() -> None:
    late = WRITTEN_AT + DAY + timedelta(seconds=5)
    assert decided(failed(API, retry_after_seconds=0), now=late) == Fail()
    assert decided(failed(API, retry_after_seconds=-10), now=late) == Fail()
    assert decided(failed(ErrorCode.INTERNAL_BUG), now=late) == DeadLetter()


def test_changes_end_with_the_total_time() -> None:
    end = WRITTEN_AT + DAY
    other = means("b")
    assert wait_of(decided(failed(GEO), now=end, means=other), end) == 0
    assert decided(failed(GEO), now=end + timedelta(milliseconds=1), means=other) == Fail()


@pytest.mark.parametrize(("seconds", "wait"), [(2, 2), (-7_200, 0), (90_000, 5)])
def test_a_retry_is_due_at_the_deadline_at_the_latest(seconds: float, wait: float) -> None:
    failure = failed(DNS, deadline=NOW + timedelta(seconds=seconds))
    assert wait_of(decided(failure)) == wait


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
def test_what_was_not_permitted_waits_for_the_breaker(
    state: BreakerState | None, shortest: float, longest: float, code: ErrorCode
) -> None:
    used = tried(code, 99) + changed_attempts(code, 99)
    failure = failed(code, permitted=False, attempts=used)
    assert decided(failure, breaker=state) == parked_for(shortest, code)
    assert decided(failure, breaker=state, chance=1.0) == parked_for(longest, code)


def test_what_waits_for_its_turn_waits_until_then_and_does_not_go_elsewhere() -> None:
    failure = failed(API, permitted=False, retry_after_seconds=42.5)
    for state in (None, breaker("closed")):
        assert decided(failure, breaker=state, means=means("a", "b")) == parked_for(42.5, API)


def test_what_was_not_permitted_is_not_given_up_before_the_total_time() -> None:
    end = WRITTEN_AT + DAY
    failure = failed(API, permitted=False)
    for state in (None, breaker("forced_open")):
        last = end - timedelta(milliseconds=1)
        assert decided(failure, now=last, breaker=state) == Park(due=end, code=API)
        assert decided(failure, now=end, breaker=state) == Fail()


def test_what_was_not_permitted_here_goes_elsewhere_at_once() -> None:
    failure = failed(API, permitted=False)
    state = breaker("open", 42)
    assert decided(failure, breaker=state, means=means("a", "b")) == parked_for(0, API)
    assert decided(failure, breaker=state, means=means("a")) == parked_for(42, API)
    avoiding = failed(API, permitted=False, avoid_egress=("b",))
    assert decided(avoiding, breaker=state, means=means("b")) == parked_for(42, API)


@pytest.mark.parametrize(("times", "seconds"), [(1, 42), (2, 0), (3, 42), (4, 0)])
def test_what_goes_elsewhere_does_not_spin(times: int, seconds: float) -> None:
    failure = failed(API, permitted=False, parked=parked(times, API))
    decision = decided(failure, breaker=breaker("open", 42), means=means("b"))
    assert decision == parked_for(seconds, API)


@pytest.mark.parametrize("state", ["open", "half_open", "forced_open"])
@pytest.mark.parametrize("code", sorted(COUNTING))
def test_a_failure_that_an_open_breaker_is_for_uses_up_nothing(code: ErrorCode, state: str) -> None:
    used = tried(code, 99)
    decision = decided(failed(code, attempts=used), breaker=breaker(state, 42))
    assert decision == parked_for({"open": 42, "half_open": 0.5, "forced_open": 30}[state], code)


@pytest.mark.parametrize("code", sorted(set(COUNTED) - COUNTING))
def test_a_failure_that_breakers_do_not_count_is_retried(code: ErrorCode) -> None:
    assert decided(failed(code), breaker=breaker("open", 42)) == retried_in(POLICIES[code].waits[0])


def test_a_failure_with_a_closed_breaker_is_retried() -> None:
    assert decided(failed(DNS), breaker=breaker("closed")) == retried_in(5)


def test_a_breaker_that_may_be_tried_in_a_moment_is_waited_for_no_longer() -> None:
    assert decided(failed(DNS), breaker=breaker("open", 0.25)) == parked_for(0.25, DNS)


def test_the_longer_of_two_waits_counts() -> None:
    for asked, seconds in ((7.0, 42), (77.0, 77)):
        failure = failed(API, retry_after_seconds=asked)
        assert decided(failure, breaker=breaker("open", 42)) == parked_for(seconds, API)


def test_with_another_way_out_nothing_is_waited_for() -> None:
    decision = decided(failed(DNS), breaker=breaker("open", 42), means=means("b"))
    assert decision == parked_for(0, DNS)


@pytest.mark.parametrize(("budget", "chance", "wait"), [(3, 0, 5), (60, 0, 60), (60, 1, 61)])
def test_retries_wait_for_their_share_and_are_not_dropped(
    budget: float, chance: float, wait: float
) -> None:
    state = breaker("closed", budget=budget)
    assert decided(failed(DNS), breaker=state, chance=chance, jitter=0) == retried_in(wait)


def test_a_share_beyond_the_total_time_is_the_last_retry() -> None:
    state = breaker("closed", budget=2 * DAY.total_seconds())
    assert decided(failed(DNS), breaker=state) == Retry(due=WRITTEN_AT + DAY)


# Changes


@pytest.mark.parametrize("code", [API, BLOCK, GEO])
def test_another_way_out_is_taken_at_once(code: ErrorCode) -> None:
    failure = failed(code, retry_after_seconds=7)
    change = changed_by(decided(failure, means=means("b")), "other_egress", counted=False)
    assert change.changes.avoid_egress == ("a",)
    state = breaker("open", 42)
    assert decided(failure, means=means("b"), breaker=state) == change


@pytest.mark.parametrize(("code", "wait"), [(API, 5), (BLOCK, 600)])
def test_without_another_way_out_a_limit_is_waited_for(code: ErrorCode, wait: float) -> None:
    assert decided(failed(code), means=means("a")) == retried_in(wait)
    moved = failed(code, attempts=changed_attempts(code, 1), avoid_egress=("b",))
    assert decided(moved, means=means("a", "b")) == retried_in(wait)


@pytest.mark.parametrize(("before", "changes"), [(4, True), (5, False), (6, False)])
def test_not_every_way_out_is_tried(before: int, changes: bool) -> None:
    failure = failed(API, attempts=changed_attempts(API, before))
    assert isinstance(decided(failure, means=means("b")), Change) is changes


@pytest.mark.parametrize("code", [GEO, LOGIN, ErrorCode.CONTENT_AGE_RESTRICTED])
def test_what_is_refused_is_tried_otherwise_once(code: ErrorCode) -> None:
    given_means = means("b", accounts=ACCOUNTS)
    change = decided(failed(code), means=given_means)
    strategy = "other_egress" if code is GEO else "authenticate"
    assert changed_by(change, strategy, counted=False).restart == "extraction"
    again = failed(code, attempts=changed_attempts(code, 1), authenticate=True)
    assert decided(again, means=given_means) == Fail()
    assert decided(failed(code)) == Fail()


@pytest.mark.parametrize("code", [LOGIN, ErrorCode.CONTENT_AGE_RESTRICTED, LIMITED])
@pytest.mark.parametrize(("before", "changes"), [(0, True), (1, True), (2, True), (3, False)])
def test_not_every_account_is_tried(code: ErrorCode, before: int, changes: bool) -> None:
    used = changed_attempts(code, before)
    failure = failed(code, attempts=used, authenticate=True, account="main")
    decision = decided(failure, means=means(accounts=ACCOUNTS))
    if changes:
        changed_by(decision, "other_account", counted=False)
    else:
        assert decision == (retried_in(600) if code is LIMITED else Fail())


def test_a_limited_account_is_waited_for_when_there_is_no_other() -> None:
    failure = failed(LIMITED, authenticate=True, account="main")
    assert decided(failure, means=means("b", accounts=("main",))) == retried_in(600)
    spent = failed(LIMITED, authenticate=True, account="main", attempts=tried(LIMITED, 1))
    assert decided(spent, means=means("b", accounts=("main",))) == Fail()


def test_resting_accounts_are_waited_for_without_using_up_anything() -> None:
    failure = failed(
        LIMITED,
        permitted=False,
        retry_after_seconds=1_234.5,
        place=False,
        authenticate=True,
        attempts=tried(LIMITED, 9),
    )
    given_means = means("a", "b", accounts=ACCOUNTS)
    assert decided(failure, means=given_means) == parked_for(1_234.5, LIMITED)


def test_links_are_read_anew_then_other_formats_are_taken() -> None:
    given_means = means(formats=FORMATS)
    changed_by(decided(failed_download(), means=given_means), "fresh_extraction", counted=False)
    second = failed_download(read_anew=True)
    changed_by(decided(second, means=given_means), "other_format", counted=False)
    assert decided(second, means=means(formats=FORMATS[:1])) == Fail()
    many = failed_download(read_anew=True, attempts=changed_attempts(EXPIRED, 38, step="download"))
    changed_by(decided(many, means=given_means), "other_format", counted=False)
    last = failed_download(read_anew=True, attempts=changed_attempts(EXPIRED, 39, step="download"))
    assert decided(last, means=given_means) == Fail()


def test_what_does_not_fit_is_chosen_otherwise_twice_at_most() -> None:
    code = ErrorCode.CONTENT_NO_FORMATS
    options = Options(codec="h265", container="webm")
    for before, changes in ((0, True), (1, True), (2, False)):
        used = changed_attempts(code, before, "selection")
        failure = failed(code, step="selection", place=False, options=options, attempts=used)
        assert isinstance(decided(failure), Change) is changes


@pytest.mark.parametrize(("before", "wait"), [(1, 30), (2, 120), (3, 600)])
def test_the_second_timeout_of_a_file_lowers_the_quality(before: int, wait: float) -> None:
    failure = failed_download(TIMEOUT, attempts=tried(TIMEOUT, before, "download"))
    change = changed_by(
        decided(failure, means=means(formats=FORMATS)), "lower_quality", seconds=wait, counted=True
    )
    assert change.changes.changed == {"quality": "best -> 720p"}
    assert change.restart == "extraction"


def test_the_first_timeout_of_a_file_and_what_cannot_be_smaller_are_just_retried() -> None:
    assert decided(failed_download(TIMEOUT), means=means(formats=FORMATS)) == retried_in(5)
    again = failed_download(TIMEOUT, attempts=tried(TIMEOUT, 1, "download"))
    assert decided(again, means=means(formats=FORMATS[:1])) == retried_in(30)
    other = failed_download(DNS, attempts=tried(DNS, 1, "download"))
    assert decided(other, means=means(formats=FORMATS)) == retried_in(30)


def test_a_lower_quality_waits_for_its_share_too() -> None:
    failure = failed_download(TIMEOUT, attempts=tried(TIMEOUT, 1, "download"))
    state = breaker("closed", budget=60)
    decision = decided(failure, means=means(formats=FORMATS), breaker=state)
    changed_by(decision, "lower_quality", seconds=60, counted=True)


# Whatever comes

MEANS = st.builds(
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
    chance=st.floats(0, 1),
    retry_after=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    deadline=st.none() | st.timedeltas(timedelta(days=-2), timedelta(days=3)),
    permitted=st.booleans(),
    state=BREAKERS,
    given_means=MEANS,
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
    permitted: bool,
    state: BreakerState | None,
    given_means: RecoveryOptions,
) -> None:
    now = WRITTEN_AT + age
    failure = failed(
        code,
        attempts=tried(code, before),
        retry_after_seconds=retry_after,
        deadline=None if deadline is None else now + deadline,
        permitted=permitted,
    )
    surroundings: dict[str, Any] = {"breaker": state, "means": given_means}
    bounds: dict[str, Any] = {"now": now, "total": total, "jitter": jitter, "chance": chance}
    decision = decided(failure, **bounds, **surroundings)
    assert decision == decided(failure, **bounds, **surroundings)
    if isinstance(decision, Retry | Park | Change):
        assert now <= decision.due <= WRITTEN_AT + total
        assert permitted or isinstance(decision, Park)
    else:
        assert isinstance(decision, DeadLetter) is POLICIES[code].keep
        assert permitted or age >= total


@given(code=st.sampled_from(COUNTED), before=st.integers(0, 6), chance=st.floats(0, 1))
def test_waits_never_get_shorter(code: ErrorCode, before: int, chance: float) -> None:
    first = decided(failed(code, attempts=tried(code, before)), chance=chance)
    second = decided(failed(code, attempts=tried(code, before + 1)), chance=chance)
    if isinstance(first, Retry) and isinstance(second, Retry):
        assert first.due <= second.due
    assert isinstance(first, Retry) or not isinstance(second, Retry)


@given(received=st.datetimes(timezones=st.just(WRITTEN_AT.tzinfo)), code=st.sampled_from(ErrorCode))
def test_no_moment_of_arrival_is_too_odd(received: datetime, code: ErrorCode) -> None:
    decided(failed(code, received_at=received), means=means("b"))
