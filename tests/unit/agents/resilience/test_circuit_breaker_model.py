"""Stateful model test of the circuit breaker, on a simulated clock."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.resilience.breaker_rules import FAILURES, open_seconds
from agents.resilience.circuit_breaker import (
    Breaker,
    expire_outdated,
    new_breaker,
    on_attempt,
    on_command,
    on_trial_request,
    state_of,
)
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from tests.unit.agents.resilience.calls import (
    BLOCK,
    NOT_FOUND,
    NOW,
    SERVER,
    attempt,
    breaker_command,
    rules,
    trial_request,
)

pytestmark = pytest.mark.untraced

RULES = rules(minimum_calls=5, window_calls=10, trials=3, open_seconds_max=100)
SUBJECTS = st.integers(0, 9)
CODES = st.sampled_from([None, NOT_FOUND, SERVER, SERVER, BLOCK, ErrorCode.INTERNAL_BUG])
TRIALS = st.sampled_from([f"t{number}" for number in range(9)])
CLOCK_MAX = 100_000_000.0


class CircuitBreakerMachine(RuleBasedStateMachine):
    """One breaker; the expected state follows from the state before each step."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.row: Breaker = new_breaker(attempt(), self.now)
        self.failed_subjects: set[int] = set()
        self.results: dict[str, bool] = {}
        self.previous = self.row

    def _step(self, row: Breaker) -> None:
        self.previous, self.row = self.row, row
        if row.state != self.previous.state and row.state in {"half_open", "closed"}:
            self.results = {}
        if row.state == "closed" != self.previous.state:
            self.failed_subjects = set()

    def _attempt(self, subject: int, code: ErrorCode | None, trial: str | None) -> None:
        if code in FAILURES:
            self.failed_subjects.add(subject)
        known = {each.id for each in self.row.trials}
        if self.row.state == "half_open" and trial in known and trial not in self.results:
            self._result(trial, code)
        made = attempt(subject, code, at=self.now, trial=trial)
        self._step(on_attempt(self.row, made, RULES, self.now))

    def _result(self, trial: str, code: ErrorCode | None) -> None:
        if code is not ErrorCode.INTERNAL_BUG:
            self.results[trial] = code not in FAILURES

    @rule(seconds=st.sampled_from([0.0, 0.5, 5, 29, 30, 61, 100, 700]))
    def time_passes(self, seconds: float) -> None:
        self.now = min(self.now + seconds, CLOCK_MAX)

    @rule(subject=SUBJECTS, code=CODES)
    def attempt_is_reported(self, subject: int, code: ErrorCode | None) -> None:
        before = self.row.state
        self._attempt(subject, code, None)
        if before != "closed":
            assert self.row.state == before

    @rule(code=st.sampled_from([SERVER, BLOCK]), count=st.integers(3, 12))
    def outage_is_reported(self, code: ErrorCode, count: int) -> None:
        for subject in range(count):
            self._attempt(subject, code, None)

    @rule(subject=SUBJECTS, code=CODES, trial=TRIALS)
    def trial_is_reported(self, subject: int, code: ErrorCode | None, trial: str) -> None:
        previous, results = self.row.state, self.results
        self._attempt(subject, code, trial)
        if previous != "half_open" or self.row.state == previous:
            return
        passed = sum(results.values())
        failed = len(results) - passed
        if self.row.state == "closed":
            assert 2 * passed > RULES.trials
        else:
            assert self.row.state == "open"
            assert 2 * failed > RULES.trials
            assert self.row.openings == self.previous.openings + 1

    @rule(trial=TRIALS)
    def trial_is_requested(self, trial: str) -> None:
        before = self.row
        self._step(on_trial_request(self.row, trial_request(trial, self.now), RULES, self.now))
        published = state_of(self.row).trials
        if before.state == "open" and self.now < (before.until or 0):
            assert (self.row.state, published) == ("open", ())
        elif before.state in {"open", "half_open"}:
            assert self.row.state == "half_open"
            assert trial in published or len(published) == RULES.trials
        else:
            assert published == ()
        again = on_trial_request(self.row, trial_request(trial, self.now), RULES, self.now)
        assert again == self.row

    @rule(action=st.sampled_from(["open", "reset", "reset"]))
    def order_is_applied(self, action: Any) -> None:
        self._step(on_command(self.row, breaker_command(action), self.now))
        assert self.row.state == ("forced_open" if action == "open" else "closed")

    @rule()
    def outdated_state_expires(self) -> None:
        self._step(expire_outdated(self.row, RULES, self.now))
        assert self.row.state == self.previous.state
        assert expire_outdated(self.row, RULES, self.now) == self.row

    @invariant()
    def state_survives_serialization(self) -> None:
        assert decode(encode(self.row), Breaker) == self.row

    @invariant()
    def trials_never_exceed_the_slots(self) -> None:
        published = state_of(self.row)
        assert len(published.trials) <= RULES.trials
        assert len(set(published.trials)) == len(published.trials)
        assert (published.trials_max == RULES.trials) == (published.state == "half_open")
        assert published.state == "half_open" or not self.row.trials

    @invariant()
    def open_time_grows_and_is_capped(self) -> None:
        row = self.row
        assert (row.until is not None) == (row.state == "open")
        if row.until is not None:
            assert row.until == row.since + open_seconds(row.openings, RULES)
            assert row.until - row.since <= RULES.open_seconds_max + 1e-6

    @invariant()
    def only_failures_of_several_videos_open_the_breaker(self) -> None:
        if self.row.state in {"open", "half_open"}:
            assert len(self.failed_subjects) >= RULES.suspicious_videos
            assert self.row.openings >= 1
            assert self.row.reason in FAILURES

    @invariant()
    def closed_and_forced_have_no_openings(self) -> None:
        if self.row.state in {"closed", "forced_open"}:
            assert (self.row.openings, self.row.reason) == (0, None)

    @invariant()
    def window_is_bounded(self) -> None:
        assert len(self.row.window) <= RULES.window_calls


TestCircuitBreakerModel = CircuitBreakerMachine.TestCase
TestCircuitBreakerModel.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
