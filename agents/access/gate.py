"""Outbound gate: chooses an egress and applies circuit breaker, rate limiter and bulkhead.

Every resolve, extract and download over the network goes through it: an open breaker holds back all
attempts, no platform is called above its rate, and every conclusive attempt is reported to the
monitor. It does not retry; recovery does.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TypeVar, get_args

from agents.access.attempts import PlannedAttempt, attempt_record, attempt_span
from agents.access.breaker_client import BreakerClient, by_preference
from agents.access.egress import egress_hosts
from agents.access.rate_limits import ONE_REQUEST, Cost, RateLimits
from agents.network.egress import DIRECT
from agents.plugins import Plugins, Trouble, describe
from agents.resilience.breaker_rules import is_conclusive
from agents.resilience.rate_limiter import RateLimitExceededError
from schemas import ClipmillError, Endpoint, ErrorCode, Job
from schemas.attempts import Operation
from streams import StageContext
from streams.observability.metrics import PLUGIN_TROUBLES, RATE_POSTPONED, start_at_zero
from streams.priority_queue import rank_of
from streams.runtime.concurrency import slot_released


@cache
def installed_plugins() -> Plugins:
    """Return the installed plug-ins; one instance of each observes all stages of the process."""
    plugins = Plugins.load(count=lambda name, trouble: PLUGIN_TROUBLES.labels(name, trouble).inc())
    start_at_zero(PLUGIN_TROUBLES, plugins.names, get_args(Trouble))
    return plugins


T = TypeVar("T")

NO_PLUGINS = Plugins()

GRANT_SECONDS = 10.0
"""Timeout of a trial request, in seconds: for the monitor's grant, or the result of other trials.
The monitor answers within milliseconds, on an overloaded machine within seconds; a platform within
a second."""


class OutboundGate:
    """Access control for the attempts of one operation.

    Args:
        operation: what is attempted.
        egresses: their names.
        context: has the states of the breakers, and sends records to the monitor.
        step: the stage that makes the attempts; they are counted by it.
        bulkhead: name of its bulkhead in the metrics, the operation's by default. A second gate of
            one operation in the same process needs a name of its own.
        clock: the time that breakers' and jobs' deadlines are compared with.
        timer: seconds, monotonic; measures attempts.
        plugins: observe every attempt.
        grant_seconds: timeout of a request for a trial.
    """

    def __init__(
        self,
        operation: Operation,
        egresses: Sequence[str],
        context: StageContext,
        *,
        step: str,
        bulkhead: str | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = time.perf_counter,
        plugins: Plugins = NO_PLUGINS,
        grant_seconds: float = GRANT_SECONDS,
    ) -> None:
        self._operation = operation
        self._step = step
        self._egresses = tuple(egresses)
        self._hosts = egress_hosts(context.settings)
        self._context = context
        self._clock = clock
        self._timer = timer
        self._plugins = plugins
        self._rate_limits = RateLimits(operation, context, bulkhead=bulkhead, clock=clock)
        self._breakers = BreakerClient(context, clock=clock, grant_seconds=grant_seconds)

    async def run(
        self,
        job: Job,
        *,
        platform: str,
        subject: str,
        call: Callable[[str], Awaitable[T]],
        part: str = "",
        cost: Cost = ONE_REQUEST,
        reported: bool = True,
    ) -> T:
        """Make one attempt and return its result.

        Args:
            job: the request that it is made for.
            platform: the platform that is called.
            subject: the video's key, or the short link.
            call: makes the attempt over the egress of this name.
            part: distinguishes attempts of a job on one subject: the file's format. Each is a
                trial of its own.
            cost: what it takes of the rate limit.
            reported: the outcome counts for the breaker; otherwise it only needs its permission.

        Raises:
            ClipmillError: the call's, with its endpoint; or, not permitted, the code that opened
                the breakers, when all of them are open, or ``rate_limit.api`` when the wait for
                the rate is too long; or ``request.expired`` when the deadline comes before.
        """
        candidates = [
            PlannedAttempt(
                job,
                subject,
                Endpoint(platform=platform, operation=self._operation, egress=name),
                self._step,
                part=part,
                reported=reported,
            )
            for name in by_preference(self._egresses, job.avoid_egress, subject)
        ]
        cost = replace(cost, rank=_rank(job))
        # Frees the stage's slot: cache hits and quick failures do not queue behind waiting events.
        async with slot_released():
            while True:
                planned = await self._choose_permitted(candidates)
                async with AsyncExitStack() as stack:
                    stack.enter_context(self._breakers.withdrawn_on_error(planned))
                    await self._acquire_rate(planned, stack, cost)
                    # The breaker may have opened during the wait for the rate limiter.
                    if self._breakers.permission(planned) in {"go", "trial"}:
                        return await self._attempt(planned, call)

    async def _acquire_rate(
        self, planned: PlannedAttempt, stack: AsyncExitStack, cost: Cost
    ) -> None:
        """Enter the rate limiter's permit into the stack, within the job's deadline."""
        job, endpoint = planned.job, planned.endpoint
        left = None if job.deadline is None else (job.deadline - self._clock()).total_seconds()
        permit = self._rate_limits.acquire(endpoint, requeued=_was_rate_limited(job), cost=cost)
        try:
            async with asyncio.timeout(left):
                await stack.enter_async_context(permit)
        except RateLimitExceededError as exceeded:
            self._breakers.withdraw(planned)
            RATE_POSTPONED.labels(*endpoint.labels).inc()
            error = ClipmillError(
                ErrorCode.RATE_LIMIT_API,
                f"no attempt was made: the rate limiter of {endpoint.key} rejected it;"
                " it is retried later",
                retry_after=round(exceeded.seconds, 3),
            )
            error.endpoint, error.permitted = endpoint, False
            raise error from None
        except TimeoutError:
            self._breakers.withdraw(planned)
            message = "the deadline passed before an attempt could be made"
            raise ClipmillError(ErrorCode.REQUEST_EXPIRED, message) from None

    async def _attempt(self, planned: PlannedAttempt, call: Callable[[str], Awaitable[T]]) -> T:
        started, cuts = self._timer(), self._rate_limits.cuts(planned.endpoint)
        request = describe(planned.job, planned.subject, planned.endpoint, step=self._step)
        span = attempt_span(planned.endpoint, self._hosts.get(planned.endpoint.egress, ""))
        try:
            with span, self._plugins.watching(request):
                result = await call(planned.endpoint.egress)
        except ClipmillError as error:
            error.endpoint = planned.endpoint
            if planned.endpoint.egress != DIRECT:
                error.details.setdefault("egress", planned.endpoint.egress)
            self._report(planned, error, started, cuts)
            raise
        self._report(planned, None, started, cuts)
        return result

    async def _choose_permitted(self, candidates: Sequence[PlannedAttempt]) -> PlannedAttempt:
        """Return the first candidate that is permitted, requesting a trial if need be.

        Subjects that prefer an egress in half-open make its trials even if another egress is
        closed: otherwise its breaker would not close while another one is.
        """
        closed = self._closed(candidates)
        if len(closed) < len(candidates):
            half_open = next(
                (it for it in candidates if self._breakers.permission(it) in {"trial", "wait"}),
                None,
            )
            if half_open is not None and (
                not closed
                or (half_open is candidates[0] and self._breakers.has_free_trials(half_open))
            ):
                granted = await self._breakers.request_trial(half_open, blocking=not closed)
                if granted is not None:
                    return granted
                # Breakers may have closed or opened during the request.
                closed = self._closed(candidates)
        if not closed:
            raise self._breakers.not_permitted(candidates)
        return closed[0] if len(closed) == 1 else min(closed, key=self._exceeds_rate)

    def _closed(self, candidates: Sequence[PlannedAttempt]) -> list[PlannedAttempt]:
        return [each for each in candidates if self._breakers.permission(each) == "go"]

    def _exceeds_rate(self, planned: PlannedAttempt) -> bool:
        job = planned.job
        return not self._rate_limits.would_admit(
            planned.endpoint, requeued=_was_rate_limited(job), rank=_rank(job)
        )

    def _report(
        self, planned: PlannedAttempt, error: ClipmillError | None, started: float, cuts: int
    ) -> None:
        """Report a conclusive attempt to the monitor.

        An inconclusive one is reported only if it was a trial, which frees its slot.
        """
        if not planned.reported:
            self._breakers.withdraw(planned)
        elif is_conclusive(error.code if error else None) or planned.trial:
            seconds = self._timer() - started
            record = attempt_record(planned, error, seconds, self._clock(), cuts=cuts)
            self._context.publish_best_effort(record)


def _rank(job: Job) -> int:
    return rank_of(job.priority, in_batch=job.batch is not None)


def _was_rate_limited(job: Job) -> bool:
    """Return whether a job returns from a rejection by the rate limiter: it has waited before."""
    return job.parked is not None and job.parked.code is ErrorCode.RATE_LIMIT_API
