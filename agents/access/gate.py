"""The gate in front of the network: picks the way out, asks the breakers, waits for its turn.

What resolve, extract and download do over the network goes through here, so that an open circuit
breaker holds everything back, no platform is asked too much, and the error monitor hears of every
attempt.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from typing import TypeVar, get_args

from agents.access.attempts import Attempting, attempt_record
from agents.access.breaker_client import (
    Permissions,
    by_preference,
    postponement,
    was_postponed,
)
from agents.access.egress import egress_hosts
from agents.access.rate_limits import ONE_REQUEST, Cost, RateLimits
from agents.network.egress import DIRECT
from agents.plugins import Plugins, Trouble, describe
from agents.resilience.breaker_rules import says_something
from agents.resilience.rate_limiter import RateLimitExceededError
from schemas.attempts import Operation
from schemas.errors import ClipmillError, ErrorCode, Place
from schemas.job import Job
from streams.observability.metrics import PLUGIN_TROUBLES, RATE_POSTPONED, start_at_zero
from streams.priority_queue import rank_of
from streams.runtime.concurrency import aside
from streams.stage import StageContext
from streams.tracing.attempts import attempt


@cache
def installed_plugins() -> Plugins:
    """Return the installed plug-ins; the same objects every time, so that they see all stages."""
    plugins = Plugins.load(count=_count)
    start_at_zero(PLUGIN_TROUBLES, plugins.names, get_args(Trouble))
    return plugins


def _count(plugin: str, trouble: Trouble) -> None:
    PLUGIN_TROUBLES.labels(plugin, trouble).inc()


T = TypeVar("T")

NO_PLUGINS = Plugins()

GRANT_SECONDS = 10.0
"""How long a trial request waits for the monitor's answer, or for the outcome of other trials. The
monitor answers within milliseconds, on an overloaded machine within seconds; a platform within a
second."""


class OutboundGate:
    """Lets attempts of one operation through.

    Args:
        operation: what is attempted.
        egresses: names of the ways out.
        context: has the states of the breakers, and sends what the monitor reads.
        clock: tells the time that breakers go by.
        timer: seconds, for how long an attempt takes.
        plugins: are told of every attempt.
        grant_seconds: how long an event waits for a trial.
    """

    def __init__(
        self,
        operation: Operation,
        egresses: Sequence[str],
        context: StageContext,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        timer: Callable[[], float] = time.perf_counter,
        plugins: Plugins = NO_PLUGINS,
        grant_seconds: float = GRANT_SECONDS,
    ) -> None:
        self._operation = operation
        self._egresses = tuple(egresses)
        self._hosts = egress_hosts(context.settings)
        self._context = context
        self._clock = clock
        self._timer = timer
        self._plugins = plugins
        self._turns = RateLimits(operation, context, clock=clock)
        self._permissions = Permissions(context, clock=clock, grant_seconds=grant_seconds)

    async def run(
        self,
        job: Job,
        *,
        platform: str,
        subject: str,
        call: Callable[[str], Awaitable[T]],
        part: str = "",
        need: Cost = ONE_REQUEST,
    ) -> T:
        """Return what the call returns; it is given the name of the way out to take.

        Args:
            job: for whom.
            platform: where.
            subject: the video's key, or the short link.
            call: makes one attempt.
            part: which one, when a job makes several of one subject: the file's format. Each of
                them is a trial of its own.
            need: what it needs of its turn.

        Raises:
            ClipmillError: the call's, with its place; or, not permitted, the code that opened the
                breakers, when all of them are open, or ``rate_limit.api`` when its turn is far
                off; or ``request.expired`` when its deadline comes before its turn.
        """
        ways = self._ways(job, platform, subject, part)
        need = replace(need, rank=_rank(job))
        # What is answered from a cache, or fails at once, must not wait for what waits here.
        async with aside():
            return await self._run(ways, call, need)

    async def _run(
        self, ways: Sequence[Attempting], call: Callable[[str], Awaitable[T]], need: Cost
    ) -> T:
        while True:
            way = await self._permitted(ways)
            with self._permissions.given_back(way):
                async with AsyncExitStack() as turn:
                    await self._wait(way, turn, need)
                    # It may have changed while it waited.
                    if self._permissions.permission(way) in {"go", "trial"}:
                        return await self._attempt(way, call)

    def _ways(self, job: Job, platform: str, subject: str, part: str) -> list[Attempting]:
        """Return the attempts that could be made, the preferred one first."""
        names = by_preference(self._egresses, job.avoid_egress, subject)
        places = (
            Place(platform=platform, operation=self._operation, egress=name) for name in names
        )
        return [Attempting(job, subject, place, part=part) for place in places]

    async def _wait(self, way: Attempting, turn: AsyncExitStack, need: Cost) -> None:
        """Return when it is the turn of this attempt; ``turn`` ends it."""
        its_turn = self._turns.acquire(way.place, returning=was_postponed(way.job), need=need)
        try:
            async with asyncio.timeout(self._seconds_left(way.job)):
                await turn.enter_async_context(its_turn)
        except RateLimitExceededError as error:
            self._permissions.withdraw(way)
            RATE_POSTPONED.labels(*way.labels).inc()
            raise postponement(way.place, error.seconds) from None
        except TimeoutError:
            self._permissions.withdraw(way)
            message = "the deadline came before anything could be tried"
            raise ClipmillError(ErrorCode.REQUEST_EXPIRED, message) from None

    def _seconds_left(self, job: Job) -> float | None:
        return None if job.deadline is None else (job.deadline - self._clock()).total_seconds()

    async def _attempt(self, way: Attempting, call: Callable[[str], Awaitable[T]]) -> T:
        started, cuts = self._timer(), self._turns.cuts(way.place)
        told = describe(way.job, way.subject, way.place)
        span = attempt(way.place, self._hosts.get(way.place.egress, ""))
        try:
            with span, self._plugins.watching(told):
                result = await call(way.place.egress)
        except ClipmillError as error:
            error.place = way.place
            if way.place.egress != DIRECT:
                error.details.setdefault("egress", way.place.egress)
            self._report(way, error, started, cuts)
            raise
        self._report(way, None, started, cuts)
        return result

    async def _permitted(self, ways: Sequence[Attempting]) -> Attempting:
        """Return the attempt that may be made.

        A way out that is shut is tried again by those who prefer it, or else it would never be
        found to be well while another one is open.
        """
        free = self._free(ways)
        shut = [way for way in ways if self._permissions.permission(way) in {"trial", "wait"}]
        if shut and (not free or self._tries(shut[0], ways[0])):
            granted = await self._permissions.ask(shut[0], patient=not free)
            if granted is not None:
                return granted
        # They may have changed while it waited.
        free = self._free(ways)
        if free:
            return free[0]
        raise self._permissions.not_permitted(ways)

    def _free(self, ways: Sequence[Attempting]) -> list[Attempting]:
        """Return the ways that are open, those first by which its turn comes soon."""
        free = [way for way in ways if self._permissions.permission(way) == "go"]
        return sorted(free, key=self._is_far_off) if len(free) > 1 else free

    def _is_far_off(self, way: Attempting) -> bool:
        job = way.job
        return not self._turns.is_soon(way.place, returning=was_postponed(job), rank=_rank(job))

    def _tries(self, shut: Attempting, preferred: Attempting) -> bool:
        return shut is preferred and self._permissions.has_free_trials(shut)

    def _report(
        self, way: Attempting, error: ClipmillError | None, started: float, cuts: int
    ) -> None:
        """Tell the monitor of an attempt.

        One that says nothing about the platform is told of only when it was a trial: its slot is
        free for another then.
        """
        if says_something(error.code if error else None) or way.trial:
            seconds = self._timer() - started
            record = attempt_record(way, error, seconds, self._clock(), cuts=cuts)
            self._context.supplement(record)


def _rank(job: Job) -> int:
    return rank_of(job.priority, in_batch=job.batch is not None)
