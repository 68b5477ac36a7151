from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.recovery.retry_policy import (
    HOUR,
    MINUTE,
    POLICIES,
    RetryPolicy,
    breaker_seconds,
    budget_seconds,
    due_after,
    seconds_left,
    with_waits,
)
from agents.recovery.strategies import propose
from schemas.errors import ErrorCode
from schemas.signals import BreakerState
from streams.topics import DELAYS, delay_topic
from tests.unit.agents.builders import WRITTEN_AT, make_job
from tests.unit.agents.recovery.cases import (
    ACCOUNTS,
    DAY,
    FORMATS,
    NOW,
    breaker,
    download_failure,
    recovery_options,
)

NETWORK = (5, 30, 2 * MINUTE, 10 * MINUTE)

EXPECTED: dict[str, RetryPolicy] = {
    "network.timeout": RetryPolicy(waits=NETWORK, on_repeat=("lower_quality",), changes=4),
    "network.dns": RetryPolicy(waits=NETWORK, on_repeat=("other_format",)),
    "network.connection": RetryPolicy(waits=NETWORK, on_repeat=("other_format",)),
    "network.server": RetryPolicy(waits=NETWORK, on_repeat=("other_format",)),
    "rate_limit.api": RetryPolicy(
        immediate=("other_egress",), changes=5, waits=(5, 30, 2 * MINUTE, 10 * MINUTE, HOUR)
    ),
    "rate_limit.ip_block": RetryPolicy(
        immediate=("other_egress",), changes=5, waits=(10 * MINUTE, HOUR)
    ),
    "rate_limit.account": RetryPolicy(
        immediate=("other_account",), changes=3, waits=(10 * MINUTE,)
    ),
    "content.not_found": RetryPolicy(),
    "content.private": RetryPolicy(immediate=("authenticate",)),
    "content.unsupported": RetryPolicy(immediate=("other_format",), changes=40),
    "content.live_ended": RetryPolicy(),
    "content.geo_blocked": RetryPolicy(immediate=("other_egress", "other_format"), changes=40),
    "content.login_required": RetryPolicy(immediate=("authenticate", "other_account"), changes=3),
    "content.age_restricted": RetryPolicy(immediate=("authenticate", "other_account"), changes=3),
    "content.no_formats": RetryPolicy(immediate=("other_format",), changes=2),
    "content.link_expired": RetryPolicy(immediate=("fresh_extraction", "other_format"), changes=40),
    "content.damaged": RetryPolicy(immediate=("fresh_extraction", "other_format"), changes=40),
    "content.no_sound": RetryPolicy(immediate=("other_format",), changes=40),
    "content.withheld": RetryPolicy(),
    "platform.changed": RetryPolicy(
        immediate=("other_format",), changes=40, waits=(10 * MINUTE, HOUR)
    ),
    "system.disk_full": RetryPolicy(waits=(30, 2 * MINUTE, 10 * MINUTE), outage=True),
    "system.storage": RetryPolicy(waits=(30, 2 * MINUTE, 10 * MINUTE), outage=True),
    "system.config": RetryPolicy(immediate=("other_egress",), changes=5, dead_letter=True),
    "system.engine_crash": RetryPolicy(waits=(5, 30), dead_letter=True),
    "internal.bug": RetryPolicy(waits=(30,), dead_letter=True),
    "request.invalid": RetryPolicy(),
    "request.too_large": RetryPolicy(immediate=("other_format",), changes=40),
    "request.expired": RetryPolicy(),
    "request.cancelled": RetryPolicy(),
}


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_the_documented_policy(code: ErrorCode) -> None:
    assert POLICIES[code] == EXPECTED[code]


def test_policies_cover_exactly_the_error_codes() -> None:
    assert set(POLICIES) == set(ErrorCode) == set(EXPECTED)


def test_default_policy() -> None:
    assert RetryPolicy() == RetryPolicy(
        immediate=(), changes=1, waits=(), on_repeat=(), outage=False, dead_letter=False
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_every_wait_has_a_delay_topic(code: ErrorCode) -> None:
    seconds = {delay.total_seconds() for delay in DELAYS.values()}
    assert set(POLICIES[code].waits) <= seconds


@pytest.mark.parametrize("code", ErrorCode)
def test_outages_do_not_spin(code: ErrorCode) -> None:
    policy = POLICIES[code]
    assert not policy.outage or policy.waits[-1] >= MINUTE


def test_every_strategy_of_the_policies_can_propose_an_action() -> None:
    named = {each for row in POLICIES.values() for each in (*row.immediate, *row.on_repeat)}
    failure = download_failure()
    with_account = msgspec.structs.replace(failure, account="main")
    all_options = recovery_options("a", "b", accounts=ACCOUNTS, formats=FORMATS)
    assert all(
        propose(e, failure, all_options) or propose(e, with_account, all_options) for e in named
    )


def test_delay_topics_are_in_ascending_order() -> None:
    delays = list(DELAYS.values())
    assert delays == sorted(delays)
    assert delay_topic(max(delays) * 2) is list(DELAYS)[-1]


def test_waits_are_configurable() -> None:
    changed = with_waits({ErrorCode.NETWORK_DNS: (1, 2), ErrorCode.SYSTEM_STORAGE: (3, 5)})
    assert changed[ErrorCode.NETWORK_DNS] == RetryPolicy(waits=(1, 2), on_repeat=("other_format",))
    assert changed[ErrorCode.SYSTEM_STORAGE] == RetryPolicy(waits=(3, 5), outage=True)
    assert {code: row for code, row in changed.items() if row != POLICIES[code]}.keys() == {
        ErrorCode.NETWORK_DNS,
        ErrorCode.SYSTEM_STORAGE,
    }


def test_outage_without_waits_is_final() -> None:
    changed = with_waits({ErrorCode.SYSTEM_STORAGE: (), ErrorCode.INTERNAL_BUG: ()})
    assert changed[ErrorCode.SYSTEM_STORAGE] == RetryPolicy()
    assert changed[ErrorCode.INTERNAL_BUG] == RetryPolicy(dead_letter=True)


def test_no_configured_waits_leave_the_policies_unchanged() -> None:
    assert with_waits({}) == POLICIES


BREAKERS: dict[str, tuple[BreakerState | None, float]] = {
    "none": (None, 1),
    "closed": (breaker("closed"), 1),
    "closed with an end": (breaker("closed", 99), 1),
    "open for 42 s": (breaker("open", 42), 42),
    "open for 0.25 s": (breaker("open", 0.25), 0.25),
    "open without an end": (breaker("open"), 30),
    "forced": (breaker("forced_open"), 30),
    "forced with an end": (breaker("forced_open", 99), 30),
}


@pytest.mark.parametrize(("state", "seconds"), BREAKERS.values(), ids=BREAKERS.keys())
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_breaker_wait_has_up_to_one_second_of_jitter(
    state: BreakerState | None, seconds: float, uniform: float
) -> None:
    assert breaker_seconds(state, NOW, uniform) == seconds + uniform


TRIALS: dict[str, tuple[BreakerState, float]] = {
    "half-open since now": (breaker("half_open", since=0), 1),
    "half-open for 0.5 s": (breaker("half_open", since=-0.5), 1),
    "half-open for 6 s": (breaker("half_open", since=-6), 6),
    "half-open for 600 s": (breaker("half_open", since=-600), 8),
    "half-open by a future clock": (breaker("half_open", since=600), 1),
    "open time over now": (breaker("open", 0), 1),
    "open time over for 6 s": (breaker("open", -6), 6),
    "open time over for 60 s": (breaker("open", -60), 8),
}


@pytest.mark.parametrize(("state", "seconds"), TRIALS.values(), ids=TRIALS.keys())
@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0])
def test_half_open_wait_is_half_to_twice_the_elapsed_time(
    state: BreakerState, seconds: float, uniform: float
) -> None:
    assert breaker_seconds(state, NOW, uniform) == seconds * (0.5 + 1.5 * uniform)


BUDGETS: dict[str, tuple[BreakerState | None, float, float]] = {
    "no breaker": (None, 1.0, 0),
    "none": (breaker("closed"), 1.0, 0),
    "expired": (breaker("closed", budget=-1), 1.0, 0),
    "expires now": (breaker("closed", budget=0), 1.0, 0),
    "active": (breaker("closed", budget=7), 0.0, 7),
    "with jitter": (breaker("closed", budget=7), 1.0, 8),
    "with half the jitter": (breaker("open", 3, budget=0.5), 0.5, 1),
}


@pytest.mark.parametrize(("state", "uniform", "seconds"), BUDGETS.values(), ids=BUDGETS.keys())
def test_retry_budget_wait_by_breaker_state(
    state: BreakerState | None, uniform: float, seconds: float
) -> None:
    assert budget_seconds(state, NOW, uniform) == seconds


LEFT = [(60, DAY.total_seconds() - 60), (0, 86_400), (-500, 86_400), (86_400, 0), (86_401, -1)]


@pytest.mark.parametrize(("age", "left"), LEFT)
def test_seconds_left_of_the_total_time(age: float, left: float) -> None:
    now = WRITTEN_AT + timedelta(seconds=age)
    assert seconds_left(make_job(), now, DAY) == left


DUE = [
    (5.0, None, 5.0),
    (0.0, None, 0.0),
    (-9.0, None, 0.0),
    (40.0, None, 40.0),
    (40.5, None, 40.0),
    (1e300, None, 40.0),
    (5.0, 4.0, 4.0),
    (5.0, 5.0, 5.0),
    (5.0, 6.0, 5.0),
    (5.0, 0.0, 0.0),
    (5.0, -100.0, 0.0),
    (0.0, -100.0, 0.0),
    (50.0, 45.0, 40.0),
]


@pytest.mark.parametrize(("seconds", "deadline", "expected"), DUE)
def test_due_time_is_within_the_total_time_and_the_deadline(
    seconds: float, deadline: float | None, expected: float
) -> None:
    ends = None if deadline is None else NOW + timedelta(seconds=deadline)
    due = due_after(seconds, make_job(deadline=ends), NOW, timedelta(seconds=100))
    assert due == NOW + timedelta(seconds=expected)


def test_due_time_after_the_total_time_is_now() -> None:
    late = WRITTEN_AT + DAY + timedelta(seconds=1)
    assert due_after(5, make_job(), late, DAY) == late


@given(
    received=st.datetimes(timezones=st.just(WRITTEN_AT.tzinfo)),
    seconds=st.floats(allow_nan=False),
)
def test_due_time_is_bounded_for_any_arrival_time(received: datetime, seconds: float) -> None:
    due = due_after(seconds, make_job(received_at=received), NOW, DAY)
    assert NOW <= due <= NOW + DAY
