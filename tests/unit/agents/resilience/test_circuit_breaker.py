from typing import Any

import msgspec
import pytest

from agents.resilience.breaker_rules import BreakerRules
from agents.resilience.circuit_breaker import (
    BUDGET_SECONDS,
    Breaker,
    expire_outdated,
    is_idle,
    new_breaker,
    on_attempt,
    on_command,
    on_trial_request,
    state_of,
)
from agents.resilience.half_open import Trial, slots
from schemas.errors import ErrorCode
from schemas.signals import BreakerState
from tests.unit.agents.resilience.calls import (
    BLOCK,
    ENDPOINT,
    NOT_FOUND,
    NOW,
    RULES,
    SERVER,
    attempt,
    breaker_command,
    calls,
    rules,
    to_datetime,
    trial_request,
)

NEW = new_breaker(attempt(), NOW)
OPEN = msgspec.structs.replace(
    NEW, state="open", reason=SERVER, since=NOW, until=NOW + 30, openings=1
)
HALF_OPEN = msgspec.structs.replace(
    OPEN, state="half_open", since=NOW + 30, until=None, trials_max=5
)
FORCED = msgspec.structs.replace(NEW, state="forced_open", by="ann")
LATER = NOW + 31


def with_changes(row: Breaker, **changes: Any) -> Breaker:
    return msgspec.structs.replace(row, **changes)


def after_attempts(
    row: Breaker, *attempts: Any, now: float = NOW, breaker_rules: BreakerRules = RULES
) -> Breaker:
    for each in attempts:
        row = on_attempt(row, each, breaker_rules, now)
    return row


def failed_attempts(count: int, code: ErrorCode | None = SERVER, **changes: Any) -> list[Any]:
    return [attempt(number, code, **changes) for number in range(count)]


def with_granted_trials(count: int, row: Breaker = HALF_OPEN, now: float = LATER) -> Breaker:
    for number in range(count):
        row = on_trial_request(row, trial_request(f"t{number}"), RULES, now)
    return row


def trial_reports(*codes: ErrorCode | None, **changes: Any) -> list[Any]:
    """Return reports of the trials t0, t1 and so on."""
    return [
        attempt(f"trial-{number}", code, at=LATER, trial=f"t{number}", **changes)
        for number, code in enumerate(codes)
    ]


# Closed


def test_new_breaker_is_closed_and_names_its_endpoint() -> None:
    assert state_of(NEW) == BreakerState(since=to_datetime(NOW), **ENDPOINT)
    assert state_of(NEW).name == attempt().name


def test_breaker_opens_at_the_minimum_number_of_failed_calls() -> None:
    row = after_attempts(NEW, *failed_attempts(19))
    assert row.state == "closed"
    row = after_attempts(row, attempt(19, SERVER), now=NOW + 1)
    assert state_of(row) == BreakerState(
        state="open",
        reason=SERVER,
        since=to_datetime(NOW + 1),
        until=to_datetime(NOW + 31),
        openings=1,
        **ENDPOINT,
    )
    assert len(row.window) == 20


def test_three_blocked_videos_open_the_breaker_at_once() -> None:
    assert after_attempts(NEW, *failed_attempts(2, BLOCK)).state == "closed"
    assert after_attempts(NEW, *failed_attempts(3, BLOCK)).reason is BLOCK


@pytest.mark.parametrize("code", [SERVER, BLOCK, ErrorCode.PLATFORM_CHANGED])
def test_failures_of_one_video_never_open_the_breaker(code: ErrorCode) -> None:
    row = after_attempts(NEW, *[attempt("strange", code, retry=True) for _ in range(150)])
    assert row.state == "closed"
    assert len(row.window) == RULES.window_calls


def test_content_errors_count_as_successes() -> None:
    row = after_attempts(NEW, *failed_attempts(200, NOT_FOUND))
    assert (row.state, len(row.window)) == ("closed", 100)


@pytest.mark.parametrize(
    "code", [code for code in ErrorCode if code.startswith(("system.", "internal.", "request."))]
)
def test_inconclusive_codes_are_not_counted(code: ErrorCode) -> None:
    row = after_attempts(NEW, *failed_attempts(30, code), now=NOW + 5)
    assert row == with_changes(NEW, active_at=NOW + 5)


def test_calls_older_than_the_window_do_not_open_the_breaker() -> None:
    row = after_attempts(NEW, *failed_attempts(19))
    assert after_attempts(row, attempt(20, SERVER, at=NOW + 61), now=NOW + 61).state == "closed"
    assert after_attempts(row, attempt(20, SERVER, at=NOW + 60), now=NOW + 60).state == "open"


@pytest.mark.parametrize("skew", [-600.0, 600.0])
def test_worker_clock_skew_has_no_effect(skew: float) -> None:
    assert after_attempts(NEW, *failed_attempts(20, at=NOW + skew), now=NOW) == after_attempts(
        NEW, *failed_attempts(20), now=NOW
    )


# Open


def test_late_reports_do_not_change_an_open_breaker() -> None:
    row = after_attempts(OPEN, *failed_attempts(30), *failed_attempts(30, None), now=NOW + 10)
    assert state_of(row) == state_of(OPEN)


@pytest.mark.parametrize(("seconds", "state"), [(29.9, "open"), (30, "half_open")])
def test_first_trial_is_granted_when_the_open_time_is_over(seconds: float, state: str) -> None:
    row = on_trial_request(OPEN, trial_request("t1"), RULES, NOW + seconds)
    assert row.state == state
    assert row.trials == ((Trial("t1", NOW + seconds),) if state == "half_open" else ())


def test_published_half_open_state_lists_granted_trials() -> None:
    assert state_of(with_granted_trials(2)) == BreakerState(
        state="half_open",
        reason=SERVER,
        since=to_datetime(NOW + 30),
        openings=1,
        trials=("t0", "t1"),
        trials_max=5,
        **ENDPOINT,
    )


def test_transition_to_half_open_updates_since_and_until() -> None:
    row = on_trial_request(OPEN, trial_request("t1"), RULES, NOW + 40)
    assert (row.since, row.until, row.trials_max) == (NOW + 40, None, 5)


@pytest.mark.parametrize("row", [NEW, OPEN, FORCED], ids=lambda row: row.state)
def test_no_trial_is_granted_in_other_states(row: Breaker) -> None:
    after_request = on_trial_request(row, trial_request(), RULES, NOW + 29)
    assert after_request == with_changes(row, active_at=NOW + 29)


# Half-open


def test_granted_trials_are_limited_to_the_slots() -> None:
    row = with_granted_trials(7)
    assert state_of(row).trials == ("t0", "t1", "t2", "t3", "t4")
    assert with_granted_trials(5, row) == row


def test_overdue_trial_frees_its_slot() -> None:
    row = with_granted_trials(5)
    again = on_trial_request(row, trial_request("t9"), RULES, LATER + 59.9)
    assert "t9" not in state_of(again).trials
    again = on_trial_request(row, trial_request("t9"), RULES, LATER + 60)
    assert state_of(again).trials == ("t9",)


def test_late_report_of_a_void_trial_still_counts() -> None:
    row = with_granted_trials(5)
    row = on_trial_request(row, trial_request("t9"), RULES, LATER + 60)
    row = after_attempts(row, *trial_reports(None, None, None), now=LATER + 70)
    assert row.state == "closed"


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ((None, None), "half_open"),
        ((None, None, None), "closed"),
        ((SERVER, SERVER), "half_open"),
        ((SERVER, SERVER, SERVER), "open"),
        ((SERVER, None, SERVER, None), "half_open"),
        ((SERVER, None, SERVER, None, None), "closed"),
        ((SERVER, None, SERVER, None, SERVER), "open"),
        ((NOT_FOUND, NOT_FOUND, NOT_FOUND), "closed"),
    ],
)
def test_majority_of_trials_decides(codes: tuple[ErrorCode | None, ...], state: str) -> None:
    assert after_attempts(with_granted_trials(5), *trial_reports(*codes), now=LATER).state == state


def test_sequential_trials_close_the_breaker() -> None:
    row, now = OPEN, NOW + 30
    for number in range(3):
        row = on_trial_request(row, trial_request(f"t{number}"), RULES, now)
        row = after_attempts(row, attempt(number, at=now, trial=f"t{number}"), now=now)
        now += 600
    assert row.state == "closed"


def test_reopening_doubles_the_open_time() -> None:
    row = after_attempts(with_granted_trials(5), *trial_reports(SERVER, SERVER, BLOCK), now=LATER)
    assert (row.state, row.openings, row.until) == ("open", 2, LATER + 60)
    assert (row.trials, row.trials_max, row.since, row.reason) == ((), 0, LATER, SERVER)


def test_slow_trials_fail_and_keep_the_reason() -> None:
    row = after_attempts(
        with_granted_trials(5), *trial_reports(None, None, None, seconds=20.1), now=LATER
    )
    assert (row.state, row.reason) == ("open", SERVER)


def test_closing_resets_the_breaker() -> None:
    row = with_changes(with_granted_trials(5), window=calls(SERVER, *range(50)))
    row = after_attempts(row, *trial_reports(None, None, None), now=LATER + 1)
    assert row == new_breaker(row, LATER + 1)
    assert (row.state, row.openings, row.window, row.trials) == ("closed", 0, (), ())


def test_attempts_reported_before_closing_do_not_count() -> None:
    row = after_attempts(
        with_granted_trials(5), *failed_attempts(50), *trial_reports(None, None, None), now=LATER
    )
    assert (row.state, row.window) == ("closed", ())
    assert after_attempts(row, *failed_attempts(50), now=LATER + 1).state == "open"


# A clock that was ahead is set back


HOURS = 7_200.0


def test_open_time_from_a_future_clock_is_capped() -> None:
    row = with_changes(OPEN, openings=2)
    adjusted = expire_outdated(row, RULES, NOW - HOURS)
    assert (adjusted.since, adjusted.until) == (NOW - HOURS, NOW - HOURS + 60)
    assert expire_outdated(adjusted, RULES, NOW - HOURS + 59).until == adjusted.until
    assert on_trial_request(adjusted, trial_request(), RULES, NOW - HOURS + 60).state == "half_open"


def test_trials_and_retry_budget_from_a_future_clock_expire() -> None:
    row = expire_outdated(with_granted_trials(2), RULES, NOW - HOURS)
    assert slots(row.trials) == slots(with_granted_trials(2).trials)
    assert slots(expire_outdated(row, RULES, NOW - HOURS + RULES.trial_seconds).trials) == ()
    held = expire_outdated(with_changes(NEW, budget_until=NOW + 10), RULES, NOW - HOURS)
    assert held.budget_until == NOW - HOURS + BUDGET_SECONDS


def test_calls_from_a_future_clock_count_as_of_now() -> None:
    row = expire_outdated(with_changes(NEW, window=calls(SERVER, *range(5))), RULES, NOW - HOURS)
    assert [each.at for each in row.window] == [NOW - HOURS] * 5
    assert expire_outdated(row, RULES, NOW - HOURS + RULES.window_seconds + 1).window == ()
    assert is_idle(row, 10, NOW - HOURS + 10)


@pytest.mark.parametrize("trial", [None, "t9"], ids=["no trial", "never granted"])
def test_attempts_that_are_not_granted_trials_decide_nothing(trial: str | None) -> None:
    made = [attempt(n, code, trial=trial) for n in range(30) for code in (None, SERVER)]
    row = after_attempts(with_granted_trials(5), *made, now=LATER)
    assert state_of(row) == state_of(with_granted_trials(5))


def test_duplicate_trial_report_counts_once() -> None:
    (report,) = trial_reports(SERVER)
    assert after_attempts(with_granted_trials(5), *[report] * 5, now=LATER).state == "half_open"


def test_inconclusive_trial_frees_its_slot() -> None:
    (report,) = trial_reports(ErrorCode.REQUEST_CANCELLED)
    row = after_attempts(with_granted_trials(5), report, now=LATER)
    assert state_of(row).trials == ("t1", "t2", "t3", "t4")
    assert "t9" in state_of(on_trial_request(row, trial_request("t9"), RULES, LATER)).trials


def test_number_of_trials_is_fixed_for_a_half_open_phase() -> None:
    row = on_trial_request(with_granted_trials(5), trial_request("t9"), rules(trials=9), LATER)
    assert len(row.trials) == 5


# Orders


@pytest.mark.parametrize("row", [NEW, OPEN, with_granted_trials(3)], ids=lambda row: row.state)
def test_breaker_is_forced_open_from_any_state(row: Breaker) -> None:
    forced = on_command(row, breaker_command("open"), NOW + 50)
    published = state_of(forced)
    assert published == BreakerState(
        state="forced_open", since=to_datetime(NOW + 50), by="ann", **ENDPOINT
    )
    assert (forced.window, forced.trials) == ((), ())


def test_only_a_reset_ends_forced_open() -> None:
    row = after_attempts(
        FORCED, *failed_attempts(50), *trial_reports(None, None, None), now=NOW + 5
    )
    row = on_trial_request(row, trial_request(), RULES, NOW + 9_999)
    assert state_of(row) == state_of(FORCED)
    row = on_command(row, breaker_command("open", by="bob"), NOW + 10_000)
    assert state_of(row) == state_of(FORCED)
    assert row.active_at == NOW + 10_000
    assert on_command(row, breaker_command("reset"), NOW + 10_001).state == "closed"


@pytest.mark.parametrize("row", [OPEN, with_granted_trials(3), FORCED], ids=lambda row: row.state)
def test_reset_closes_and_clears_the_breaker(row: Breaker) -> None:
    full = with_changes(row, window=calls(SERVER, *range(30)))
    row = on_command(full, breaker_command("reset"), NOW + 50)
    assert row == new_breaker(NEW, NOW + 50)


# Retry budget


def test_exceeded_retry_budget_holds_retries() -> None:
    few = after_attempts(NEW, *failed_attempts(10, None, retry=True))
    assert few.budget_until is None
    many = after_attempts(NEW, *failed_attempts(11, None, retry=True))
    assert many.budget_until == NOW + BUDGET_SECONDS == NOW + 10
    assert state_of(many).budget_until == to_datetime(NOW + 10)


def test_retry_budget_is_reevaluated_when_it_expires() -> None:
    row = after_attempts(NEW, *failed_attempts(11, None, retry=True))
    assert after_attempts(row, attempt(retry=True), now=NOW + 9.9).budget_until == NOW + 10
    assert after_attempts(row, attempt(retry=True), now=NOW + 10).budget_until == NOW + 20
    assert expire_outdated(row, RULES, NOW + 9.9).budget_until == NOW + 10
    assert expire_outdated(row, RULES, NOW + 10).budget_until is None
    assert expire_outdated(row, RULES, NOW + 500).budget_until is None


def test_open_breaker_has_no_retry_budget() -> None:
    row = after_attempts(NEW, *failed_attempts(20, retry=True))
    assert (row.state, row.budget_until) == ("open", None)


# Expiry


def test_expiry_drops_old_calls_and_voids_overdue_trials() -> None:
    row = with_changes(
        with_granted_trials(1), window=calls(SERVER, 1, at=NOW) + calls(None, 2, at=LATER)
    )
    later = expire_outdated(row, RULES, LATER + 60)
    assert later.window == calls(None, 2, at=LATER)
    assert later.trials == (Trial("t0", LATER, void=True),)
    assert later.active_at == row.active_at
    assert expire_outdated(row, RULES, LATER) == with_changes(row)


@pytest.mark.parametrize(
    ("row", "seconds", "idle"),
    [
        (NEW, 3_599.9, False),
        (NEW, 3_600, True),
        (NEW, 9_999, True),
        (OPEN, 9_999, False),
        (FORCED, 9_999, False),
    ],
)
def test_only_closed_breakers_become_idle(row: Breaker, seconds: float, idle: bool) -> None:
    assert is_idle(row, 3_600, NOW + seconds) is idle


def test_every_event_updates_active_at() -> None:
    assert after_attempts(NEW, attempt(), now=NOW + 7).active_at == NOW + 7
    assert on_trial_request(NEW, trial_request(), RULES, NOW + 7).active_at == NOW + 7
    assert on_command(NEW, breaker_command("reset"), NOW + 7).active_at == NOW + 7


# Withdrawn trials


def test_withdrawn_trial_frees_its_slot() -> None:
    row = with_granted_trials(RULES.trials)
    assert (
        state_of(on_trial_request(row, trial_request("t9"), RULES, LATER)).trials
        == state_of(row).trials
    )
    row = on_trial_request(row, trial_request("t0", withdrawn=True), RULES, LATER)
    row = on_trial_request(row, trial_request("t9"), RULES, LATER)
    assert "t0" not in state_of(row).trials
    assert "t9" in state_of(row).trials


def test_withdrawal_does_not_start_half_open() -> None:
    row = on_trial_request(OPEN, trial_request("t1", withdrawn=True), RULES, LATER + 3_600)
    assert (row.state, row.trials) == ("open", ())


def test_reported_trial_cannot_be_withdrawn() -> None:
    row = after_attempts(with_granted_trials(1), attempt(trial="t0"), now=LATER)
    again = on_trial_request(row, trial_request("t0", withdrawn=True), RULES, LATER)
    assert again.trials == row.trials
