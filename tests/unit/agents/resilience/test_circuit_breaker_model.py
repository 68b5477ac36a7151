"""Breakers through long lives, with a clock of their own, against what must always hold."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.resilience.breaker_rules import COUNTING, open_seconds
from agents.resilience.circuit_breaker import (
    Breaker,
    new_breaker,
    on_attempt,
    on_order,
    on_trial_request,
    state_of,
    tidied,
)
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import (
    BLOCK,
    GONE,
    NOW,
    SERVER,
    asked,
    attempt,
    ordered,
    rules,
)

pytestmark = pytest.mark.untraced

RULES = rules(minimum_calls=5, window_calls=10, trials=3, open_seconds_max=100)
SUBJECTS = st.integers(0, 9)
CODES = st.sampled_from([None, GONE, SERVER, SERVER, BLOCK, ErrorCode.INTERNAL_BUG])
TRIALS = st.sampled_from([f"t{number}" for number in range(9)])
LONGEST = 100_000_000.0


class BreakerLife(RuleBasedStateMachine):
    """One breaker. What it should be is worked out from what it was before each step."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.row: Breaker = new_breaker(attempt(), self.now)
        self.failed_subjects: set[int] = set()
        self.results: dict[str, bool] = {}
        self.was = self.row

    def _step(self, row: Breaker) -> None:
        self.was, self.row = self.row, row
        if row.state != self.was.state and row.state in {"half_open", "closed"}:
            self.results = {}
        if row.state == "closed" != self.was.state:
            self.failed_subjects = set()

    def _attempt(self, subject: int, code: ErrorCode | None, trial: str | None) -> None:
        if code in COUNTING:
            self.failed_subjects.add(subject)
        known = {each.id for each in self.row.trials}
        if self.row.state == "half_open" and trial in known and trial not in self.results:
            self._result(trial, code)
        made = attempt(subject, code, at=self.now, trial=trial)
        self._step(on_attempt(self.row, made, RULES, self.now))

    def _result(self, trial: str, code: ErrorCode | None) -> None:
        if code is not ErrorCode.INTERNAL_BUG:
            self.results[trial] = code not in COUNTING

    @rule(seconds=st.sampled_from([0.0, 0.5, 5, 29, 30, 61, 100, 700]))
    def time_passes(self, seconds: float) -> None:
        self.now = min(self.now + seconds, LONGEST)

    @rule(subject=SUBJECTS, code=CODES)
    def an_attempt(self, subject: int, code: ErrorCode | None) -> None:
        before = self.row.state
        self._attempt(subject, code, None)
        if before != "closed":
            assert self.row.state == before

    @rule(code=st.sampled_from([SERVER, BLOCK]), count=st.integers(3, 12))
    def an_outage(self, code: ErrorCode, count: int) -> None:
        for subject in range(count):
            self._attempt(subject, code, None)

    @rule(subject=SUBJECTS, code=CODES, trial=TRIALS)
    def a_trial_is_reported(self, subject: int, code: ErrorCode | None, trial: str) -> None:
        was, results = self.row.state, self.results
        self._attempt(subject, code, trial)
        if was != "half_open" or self.row.state == was:
            return
        passed = sum(results.values())
        failed = len(results) - passed
        if self.row.state == "closed":
            assert 2 * passed > RULES.trials
        else:
            assert self.row.state == "open"
            assert 2 * failed > RULES.trials
            assert self.row.openings == self.was.openings + 1

    @rule(trial=TRIALS)
    def a_trial_is_asked_for(self, trial: str) -> None:
        before = self.row
        self._step(on_trial_request(self.row, asked(trial, self.now), RULES, self.now))
        told = state_of(self.row).trials
        if before.state == "open" and self.now < (before.until or 0):
            assert (self.row.state, told) == ("open", ())
        elif before.state in {"open", "half_open"}:
            assert self.row.state == "half_open"
            assert trial in told or len(told) == RULES.trials
        else:
            assert told == ()
        again = on_trial_request(self.row, asked(trial, self.now), RULES, self.now)
        assert again == self.row

    @rule(action=st.sampled_from(["open", "reset", "reset"]))
    def an_order(self, action: Any) -> None:
        self._step(on_order(self.row, ordered(action), self.now))
        assert self.row.state == ("forced_open" if action == "open" else "closed")

    @rule()
    def it_is_tidied(self) -> None:
        self._step(tidied(self.row, RULES, self.now))
        assert self.row.state == self.was.state
        assert tidied(self.row, RULES, self.now) == self.row

    @invariant()
    def it_is_the_same_when_it_was_written_and_read(self) -> None:
        assert decode(encode(self.row), Breaker) == self.row

    @invariant()
    def never_more_trials_than_slots(self) -> None:
        told = state_of(self.row)
        assert len(told.trials) <= RULES.trials
        assert len(set(told.trials)) == len(told.trials)
        assert (told.trials_max == RULES.trials) == (told.state == "half_open")
        assert told.state == "half_open" or not self.row.trials

    @invariant()
    def the_open_time_grows_and_is_capped(self) -> None:
        row = self.row
        assert (row.until is not None) == (row.state == "open")
        if row.until is not None:
            assert row.until == row.since + open_seconds(row.openings, RULES)
            assert row.until - row.since <= RULES.open_seconds_max + 1e-6

    @invariant()
    def only_failures_of_several_videos_open_it(self) -> None:
        if self.row.state in {"open", "half_open"}:
            assert len(self.failed_subjects) >= RULES.suspicious_videos
            assert self.row.openings >= 1
            assert self.row.reason in COUNTING

    @invariant()
    def closed_and_forced_have_no_openings(self) -> None:
        if self.row.state in {"closed", "forced_open"}:
            assert (self.row.openings, self.row.reason) == (0, None)

    @invariant()
    def the_window_is_bounded(self) -> None:
        assert len(self.row.window) <= RULES.window_calls


TestBreakerLife = BreakerLife.TestCase
TestBreakerLife.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
