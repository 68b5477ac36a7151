"""Stateful model test of decide: any failures, breaker states, egresses and accounts of a job."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agents.recovery.decide import decide
from agents.recovery.decisions import (
    Backoff,
    Change,
    DeadLetter,
    Decision,
    Fail,
    Park,
    RecoveryOptions,
    job_after,
)
from agents.recovery.retry_policy import POLICIES
from schemas.errors import ErrorCode
from schemas.events import Failure
from schemas.job import Job
from schemas.request import Options
from schemas.signals import BreakerState
from tests.unit.agents.builders import WRITTEN_AT, make_job
from tests.unit.agents.recovery.cases import FORMATS, download_failure, extraction_failure

pytestmark = pytest.mark.untraced

CODES = [code for code in ErrorCode if not code.startswith("request.")]
STATES = ["closed", "open", "half_open", "forced_open"]
PARKS_AT_ONCE_MAX = 1
LAST_SECONDS = 100
LAST_TRIES = 2 * LAST_SECONDS + 50
"""Two per second, as every second park may be immediate; and all attempts and changes."""


class JobMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = WRITTEN_AT
        self.total = timedelta(days=1)
        self.job: Job = make_job()
        self.ended = False
        self.breaker: BreakerState | None = None
        self.available = RecoveryOptions()
        self.parks_in_a_row_at_once = 0

    @initialize(
        total=st.sampled_from([timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)]),
        deadline=st.none() | st.floats(-10, 100_000),
        degrade=st.booleans(),
    )
    def start(self, total: timedelta, deadline: float | None, degrade: bool) -> None:
        self.total = total
        ends = None if deadline is None else self.now + timedelta(seconds=deadline)
        self.job = make_job(deadline=ends, options=Options(codec="h264", degrade=degrade))

    @rule(
        state=st.none() | st.sampled_from(STATES),
        until=st.none() | st.floats(-100, 1_000),
        budget=st.none() | st.floats(-100, 100_000),
    )
    def breaker_changes(self, state: Any, until: float | None, budget: float | None) -> None:
        if state is None:
            self.breaker = None
            return
        self.breaker = BreakerState(
            platform="tiktok",
            operation="extract",
            egress="a",
            state=state,
            since=self.now,
            until=self._in(until),
            budget_until=self._in(budget),
        )

    @rule(egresses=st.sets(st.sampled_from("abcdefgh")), accounts=st.sets(st.sampled_from("xyz")))
    def available_options_change(self, egresses: set[str], accounts: set[str]) -> None:
        self.available = RecoveryOptions(
            egresses=tuple(sorted(egresses)), accounts=tuple(sorted(accounts)), formats=FORMATS
        )

    @precondition(lambda self: not self.ended)
    @rule(
        code=st.sampled_from(CODES),
        permitted=st.booleans(),
        retry_after_seconds=st.none() | st.floats(-1, 10_000),
        uniform=st.floats(0, 1),
        egress=st.sampled_from("ab"),
        account=st.none() | st.sampled_from("xyz"),
    )
    def extraction_fails(self, uniform: float, egress: str, **fields: Any) -> None:
        failure = extraction_failure(**fields)
        self._decide_and_apply(
            msgspec.structs.replace(failure, job=self.job, egress=egress), uniform
        )

    @precondition(lambda self: not self.ended)
    @rule(retry_after=st.floats(0, 100_000), uniform=st.floats(0, 1))
    def accounts_are_exhausted(self, retry_after: float, uniform: float) -> None:
        code = ErrorCode.RATE_LIMIT_ACCOUNT
        failure = extraction_failure(
            code, permitted=False, retry_after_seconds=retry_after, has_endpoint=False
        )
        self._decide_and_apply(msgspec.structs.replace(failure, job=self.job), uniform)

    @precondition(lambda self: not self.ended)
    @rule(
        code=st.sampled_from([ErrorCode.CONTENT_LINK_EXPIRED, ErrorCode.NETWORK_TIMEOUT]),
        format_id=st.sampled_from(["high", "middle", "low"]),
        uniform=st.floats(0, 1),
    )
    def download_fails(self, code: ErrorCode, format_id: str, uniform: float) -> None:
        failure = download_failure(code, format_id)
        self._decide_and_apply(msgspec.structs.replace(failure, job=self.job), uniform)

    def _decide_and_apply(self, failure: Failure, uniform: float) -> None:
        decision = self._decide(failure, self.now, uniform)
        again = self._decide(failure, self.now, uniform)
        assert decision == again, "the same failure, the same decision"
        after = job_after(failure, decision, self.now)
        match decision:
            case Backoff() | Park() | Change():
                self._check_due(decision.due)
                self._check_progress(decision, after)
                self.job, self.now = after, decision.due
            case DeadLetter() | Fail():
                self._check_end(failure, decision)
                self.ended = True

    def _check_due(self, due: datetime) -> None:
        assert self.now <= due <= self.job.received_at + self.total
        if self.job.deadline is not None:
            assert due <= max(self.job.deadline, self.now)

    def _check_progress(self, decision: Decision, after: Job) -> None:
        assert after.try_number == self.job.try_number + 1, "every event has an id of its own"
        if not isinstance(decision, Park):
            return
        assert after.attempts == self.job.attempts, "a park uses up no attempt"
        at_once = decision.due == self.now and not self._is_past_deadline()
        self.parks_in_a_row_at_once = (self.parks_in_a_row_at_once + 1) * at_once
        assert self.parks_in_a_row_at_once <= PARKS_AT_ONCE_MAX

    def _is_past_deadline(self) -> bool:
        return self.job.deadline is not None and self.job.deadline <= self.now

    def _check_end(self, failure: Failure, decision: Decision) -> None:
        code, age = failure.error.error_type, self.now - self.job.received_at
        policy = POLICIES[code]
        assert isinstance(decision, DeadLetter) is policy.dead_letter
        used = self._counted()[failure.step, code]
        retry_after = failure.retry_after_seconds
        wait = policy.waits[used] if used < len(policy.waits) else 0
        seconds = 1.2 * wait if retry_after is None else retry_after
        out_of_time = age + timedelta(seconds=max(0.0, seconds)) >= self.total
        assert out_of_time or used == len(policy.waits), "a permitted wait remains"
        assert out_of_time or failure.permitted, "final without an attempt"
        assert out_of_time or not policy.outage

    def _counted(self) -> Counter[tuple[str, ErrorCode]]:
        attempts = self.job.attempts
        return Counter((each.step, each.code) for each in attempts if each.counted)

    @invariant()
    def no_more_attempts_than_waits(self) -> None:
        for (_, code), count in self._counted().items():
            assert count <= len(POLICIES[code].waits)

    @invariant()
    def no_more_changes_than_allowed(self) -> None:
        changes = Counter((each.step, each.code) for each in self.job.attempts if each.changed)
        for (_, code), count in changes.items():
            assert count <= POLICIES[code].changes

    @invariant()
    def forbidden_options_are_unchanged(self) -> None:
        options = self.job.options
        assert options.degrade or (options.quality, options.codec) == ("best", "h264")

    def teardown(self) -> None:
        """Fail until the job ends: it does within its total time, and no decision spins."""
        end = self.job.received_at + self.total
        for code in (ErrorCode.NETWORK_SERVER, ErrorCode.CONTENT_LINK_EXPIRED):
            job, now = self.job, max(self.now, end - timedelta(seconds=LAST_SECONDS))
            for _ in range(LAST_TRIES):
                failure = msgspec.structs.replace(extraction_failure(code), job=job)
                decision = self._decide(failure, now)
                if isinstance(decision, Fail | DeadLetter):
                    break
                job, now = job_after(failure, decision, now), decision.due
                if job.deadline is not None and job.deadline <= now:
                    break
            else:
                raise AssertionError("it never ends")

    def _decide(self, failure: Failure, now: datetime, uniform: float = 0.5) -> Decision:
        return decide(
            failure,
            now=now,
            total=self.total,
            jitter=0.2,
            uniform=uniform,
            breaker=self.breaker,
            available=self.available,
        )

    def _in(self, seconds: float | None) -> datetime | None:
        return None if seconds is None else self.now + timedelta(seconds=seconds)


JobMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestDecideModel = JobMachine.TestCase
