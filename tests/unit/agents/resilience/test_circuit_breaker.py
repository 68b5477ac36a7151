from typing import Any

import msgspec
import pytest

from agents.resilience.breaker_rules import Rules
from agents.resilience.circuit_breaker import (
    BUDGET_SECONDS,
    Breaker,
    is_idle,
    new_breaker,
    on_attempt,
    on_order,
    on_trial_request,
    state_of,
    tidied,
)
from agents.resilience.half_open import Trial, slots
from schemas.errors import ErrorCode
from schemas.signals import BreakerState
from tests.unit.agents.resilience.calls import (
    BLOCK,
    GONE,
    NOW,
    RULES,
    SERVER,
    WAY,
    asked,
    attempt,
    calls,
    moment,
    ordered,
    rules,
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


def changed(row: Breaker, **changes: Any) -> Breaker:
    return msgspec.structs.replace(row, **changes)


def after(row: Breaker, *attempts: Any, now: float = NOW, numbers: Rules = RULES) -> Breaker:
    for each in attempts:
        row = on_attempt(row, each, numbers, now)
    return row


def failures(count: int, code: ErrorCode | None = SERVER, **changes: Any) -> list[Any]:
    return [attempt(number, code, **changes) for number in range(count)]


def granted(count: int, row: Breaker = HALF_OPEN, now: float = LATER) -> Breaker:
    for number in range(count):
        row = on_trial_request(row, asked(f"t{number}"), RULES, now)
    return row


def results(*codes: ErrorCode | None, **changes: Any) -> list[Any]:
    """Reports of the trials t0, t1 and so on."""
    return [
        attempt(f"trial-{number}", code, at=LATER, trial=f"t{number}", **changes)
        for number, code in enumerate(codes)
    ]


# Closed


def test_a_new_breaker_is_closed_and_has_its_way() -> None:
    assert state_of(NEW) == BreakerState(since=moment(NOW), **WAY)
    assert state_of(NEW).name == attempt().name


def test_it_opens_with_the_call_that_is_one_too_many() -> None:
    row = after(NEW, *failures(19))
    assert row.state == "closed"
    row = after(row, attempt(19, SERVER), now=NOW + 1)
    assert state_of(row) == BreakerState(
        state="open",
        reason=SERVER,
        since=moment(NOW + 1),
        until=moment(NOW + 31),
        openings=1,
        **WAY,
    )
    assert len(row.window) == 20


def test_three_blocked_videos_open_it_at_once() -> None:
    assert after(NEW, *failures(2, BLOCK)).state == "closed"
    assert after(NEW, *failures(3, BLOCK)).reason is BLOCK


@pytest.mark.parametrize("code", [SERVER, BLOCK, ErrorCode.PLATFORM_CHANGED])
def test_one_strange_video_never_opens_it(code: ErrorCode) -> None:
    row = after(NEW, *[attempt("strange", code, retry=True) for _ in range(150)])
    assert row.state == "closed"
    assert len(row.window) == RULES.window_calls


def test_content_errors_are_successes() -> None:
    row = after(NEW, *failures(200, GONE))
    assert (row.state, len(row.window)) == ("closed", 100)


@pytest.mark.parametrize(
    "code", [code for code in ErrorCode if code.startswith(("system.", "internal.", "request."))]
)
def test_what_tells_nothing_of_the_platform_is_not_counted(code: ErrorCode) -> None:
    row = after(NEW, *failures(30, code), now=NOW + 5)
    assert row == changed(NEW, active_at=NOW + 5)


def test_calls_that_are_too_old_do_not_open_it() -> None:
    row = after(NEW, *failures(19))
    assert after(row, attempt(20, SERVER, at=NOW + 61), now=NOW + 61).state == "closed"
    assert after(row, attempt(20, SERVER, at=NOW + 60), now=NOW + 60).state == "open"


@pytest.mark.parametrize("skew", [-600.0, 600.0])
def test_the_clock_of_a_worker_changes_nothing(skew: float) -> None:
    assert after(NEW, *failures(20, at=NOW + skew), now=NOW) == after(NEW, *failures(20), now=NOW)


# Open


def test_late_attempts_leave_it_open_as_it_is() -> None:
    row = after(OPEN, *failures(30), *failures(30, None), now=NOW + 10)
    assert state_of(row) == state_of(OPEN)


@pytest.mark.parametrize(("seconds", "state"), [(29.9, "open"), (30, "half_open")])
def test_the_first_trial_may_come_when_its_time_is_over(seconds: float, state: str) -> None:
    row = on_trial_request(OPEN, asked("t1"), RULES, NOW + seconds)
    assert row.state == state
    assert row.trials == ((Trial("t1", NOW + seconds),) if state == "half_open" else ())


def test_half_open_is_told_with_its_trials() -> None:
    assert state_of(granted(2)) == BreakerState(
        state="half_open",
        reason=SERVER,
        since=moment(NOW + 30),
        openings=1,
        trials=("t0", "t1"),
        trials_max=5,
        **WAY,
    )


def test_becoming_half_open_is_a_new_state() -> None:
    row = on_trial_request(OPEN, asked("t1"), RULES, NOW + 40)
    assert (row.since, row.until, row.trials_max) == (NOW + 40, None, 5)


@pytest.mark.parametrize("row", [NEW, OPEN, FORCED], ids=lambda row: row.state)
def test_nothing_is_granted_in_other_states(row: Breaker) -> None:
    asked_for = on_trial_request(row, asked(), RULES, NOW + 29)
    assert asked_for == changed(row, active_at=NOW + 29)


# Half-open


def test_no_more_trials_are_granted_than_there_are() -> None:
    row = granted(7)
    assert state_of(row).trials == ("t0", "t1", "t2", "t3", "t4")
    assert granted(5, row) == row


def test_a_trial_that_is_not_heard_of_frees_its_slot() -> None:
    row = granted(5)
    again = on_trial_request(row, asked("t9"), RULES, LATER + 59.9)
    assert "t9" not in state_of(again).trials
    again = on_trial_request(row, asked("t9"), RULES, LATER + 60)
    assert state_of(again).trials == ("t9",)


def test_a_late_report_of_a_void_trial_still_counts() -> None:
    row = granted(5)
    row = on_trial_request(row, asked("t9"), RULES, LATER + 60)
    row = after(row, *results(None, None, None), now=LATER + 70)
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
        ((GONE, GONE, GONE), "closed"),
    ],
)
def test_most_trials_decide(codes: tuple[ErrorCode | None, ...], state: str) -> None:
    assert after(granted(5), *results(*codes), now=LATER).state == state


def test_one_trial_after_the_other_closes_it_too() -> None:
    row, now = OPEN, NOW + 30
    for number in range(3):
        row = on_trial_request(row, asked(f"t{number}"), RULES, now)
        row = after(row, attempt(number, at=now, trial=f"t{number}"), now=now)
        now += 600
    assert row.state == "closed"


def test_it_opens_again_for_twice_as_long() -> None:
    row = after(granted(5), *results(SERVER, SERVER, BLOCK), now=LATER)
    assert (row.state, row.openings, row.until) == ("open", 2, LATER + 60)
    assert (row.trials, row.trials_max, row.since, row.reason) == ((), 0, LATER, SERVER)


def test_slow_trials_fail_and_leave_the_reason() -> None:
    row = after(granted(5), *results(None, None, None, seconds=20.1), now=LATER)
    assert (row.state, row.reason) == ("open", SERVER)


def test_it_closes_with_everything_forgotten() -> None:
    row = changed(granted(5), window=calls(SERVER, *range(50)))
    row = after(row, *results(None, None, None), now=LATER + 1)
    assert row == new_breaker(row, LATER + 1)
    assert (row.state, row.openings, row.window, row.trials) == ("closed", 0, (), ())


def test_attempts_that_are_reported_before_it_closes_do_not_count() -> None:
    row = after(granted(5), *failures(50), *results(None, None, None), now=LATER)
    assert (row.state, row.window) == ("closed", ())
    assert after(row, *failures(50), now=LATER + 1).state == "open"


# A clock that is set back


HOURS = 7_200.0


def test_an_open_breaker_from_ahead_is_open_no_longer_than_any() -> None:
    row = changed(OPEN, openings=2)
    back = tidied(row, RULES, NOW - HOURS)
    assert (back.since, back.until) == (NOW - HOURS, NOW - HOURS + 60)
    assert tidied(back, RULES, NOW - HOURS + 59).until == back.until
    assert on_trial_request(back, asked(), RULES, NOW - HOURS + 60).state == "half_open"


def test_trials_and_holds_from_ahead_end_in_time() -> None:
    row = tidied(granted(2), RULES, NOW - HOURS)
    assert slots(row.trials) == slots(granted(2).trials)
    assert slots(tidied(row, RULES, NOW - HOURS + RULES.trial_seconds).trials) == ()
    held = tidied(changed(NEW, budget_until=NOW + 10), RULES, NOW - HOURS)
    assert held.budget_until == NOW - HOURS + BUDGET_SECONDS


def test_what_was_counted_ahead_counts_as_of_now() -> None:
    row = tidied(changed(NEW, window=calls(SERVER, *range(5))), RULES, NOW - HOURS)
    assert [each.at for each in row.window] == [NOW - HOURS] * 5
    assert tidied(row, RULES, NOW - HOURS + RULES.window_seconds + 1).window == ()
    assert is_idle(row, 10, NOW - HOURS + 10)


@pytest.mark.parametrize("trial", [None, "t9"], ids=["no trial", "never granted"])
def test_other_attempts_decide_nothing(trial: str | None) -> None:
    made = [attempt(n, code, trial=trial) for n in range(30) for code in (None, SERVER)]
    row = after(granted(5), *made, now=LATER)
    assert state_of(row) == state_of(granted(5))


def test_a_report_counts_once() -> None:
    (report,) = results(SERVER)
    assert after(granted(5), *[report] * 5, now=LATER).state == "half_open"


def test_a_trial_that_told_nothing_gives_its_slot_back() -> None:
    (report,) = results(ErrorCode.REQUEST_CANCELLED)
    row = after(granted(5), report, now=LATER)
    assert state_of(row).trials == ("t1", "t2", "t3", "t4")
    assert "t9" in state_of(on_trial_request(row, asked("t9"), RULES, LATER)).trials


def test_the_number_of_trials_stays_through_a_phase() -> None:
    row = on_trial_request(granted(5), asked("t9"), rules(trials=9), LATER)
    assert len(row.trials) == 5


# Orders


@pytest.mark.parametrize("row", [NEW, OPEN, granted(3)], ids=lambda row: row.state)
def test_it_is_opened_by_force_from_any_state(row: Breaker) -> None:
    forced = on_order(row, ordered("open"), NOW + 50)
    told = state_of(forced)
    assert told == BreakerState(state="forced_open", since=moment(NOW + 50), by="ann", **WAY)
    assert (forced.window, forced.trials) == ((), ())


def test_only_a_reset_ends_force() -> None:
    row = after(FORCED, *failures(50), *results(None, None, None), now=NOW + 5)
    row = on_trial_request(row, asked(), RULES, NOW + 9_999)
    assert state_of(row) == state_of(FORCED)
    row = on_order(row, ordered("open", by="bob"), NOW + 10_000)
    assert state_of(row) == state_of(FORCED)
    assert row.active_at == NOW + 10_000
    assert on_order(row, ordered("reset"), NOW + 10_001).state == "closed"


@pytest.mark.parametrize("row", [OPEN, granted(3), FORCED], ids=lambda row: row.state)
def test_a_reset_closes_and_forgets(row: Breaker) -> None:
    full = changed(row, window=calls(SERVER, *range(30)))
    row = on_order(full, ordered("reset"), NOW + 50)
    assert row == new_breaker(NEW, NOW + 50)


# Retry budget


def test_retries_wait_when_they_are_too_many() -> None:
    few = after(NEW, *failures(10, None, retry=True))
    assert few.budget_until is None
    many = after(NEW, *failures(11, None, retry=True))
    assert many.budget_until == NOW + BUDGET_SECONDS == NOW + 10
    assert state_of(many).budget_until == moment(NOW + 10)


def test_the_budget_is_looked_at_again_when_its_time_is_over() -> None:
    row = after(NEW, *failures(11, None, retry=True))
    assert after(row, attempt(retry=True), now=NOW + 9.9).budget_until == NOW + 10
    assert after(row, attempt(retry=True), now=NOW + 10).budget_until == NOW + 20
    assert tidied(row, RULES, NOW + 9.9).budget_until == NOW + 10
    assert tidied(row, RULES, NOW + 10).budget_until is None
    assert tidied(row, RULES, NOW + 500).budget_until is None


def test_an_open_breaker_has_no_budget() -> None:
    row = after(NEW, *failures(20, retry=True))
    assert (row.state, row.budget_until) == ("open", None)


# Time


def test_time_takes_old_calls_and_silent_trials() -> None:
    row = changed(granted(1), window=calls(SERVER, 1, at=NOW) + calls(None, 2, at=LATER))
    later = tidied(row, RULES, LATER + 60)
    assert later.window == calls(None, 2, at=LATER)
    assert later.trials == (Trial("t0", LATER, void=True),)
    assert later.active_at == row.active_at
    assert tidied(row, RULES, LATER) == changed(row)


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
def test_only_closed_breakers_are_idle_some_day(row: Breaker, seconds: float, idle: bool) -> None:
    assert is_idle(row, 3_600, NOW + seconds) is idle


def test_everything_that_happens_keeps_it_awake() -> None:
    assert after(NEW, attempt(), now=NOW + 7).active_at == NOW + 7
    assert on_trial_request(NEW, asked(), RULES, NOW + 7).active_at == NOW + 7
    assert on_order(NEW, ordered("reset"), NOW + 7).active_at == NOW + 7


# Trials that are taken back


def test_a_trial_that_is_taken_back_frees_its_slot() -> None:
    row = granted(RULES.trials)
    assert state_of(on_trial_request(row, asked("t9"), RULES, LATER)).trials == state_of(row).trials
    row = on_trial_request(row, asked("t0", withdrawn=True), RULES, LATER)
    row = on_trial_request(row, asked("t9"), RULES, LATER)
    assert "t0" not in state_of(row).trials
    assert "t9" in state_of(row).trials


def test_what_is_taken_back_does_not_begin_the_trials() -> None:
    row = on_trial_request(OPEN, asked("t1", withdrawn=True), RULES, LATER + 3_600)
    assert (row.state, row.trials) == ("open", ())


def test_a_result_is_not_taken_back() -> None:
    row = after(granted(1), attempt(trial="t0"), now=LATER)
    again = on_trial_request(row, asked("t0", withdrawn=True), RULES, LATER)
    assert again.trials == row.trials
