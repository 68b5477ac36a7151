"""Client side of the circuit breakers: which calls are permitted, and requests for trial calls.

Used by the outbound gate. It reads the breakers' states from the shared state and sends requests to
the monitor, their single writer; it changes none itself.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec

from agents.access.attempts import PlannedAttempt, trial_record
from agents.resilience.circuit_breaker import BUDGET_SECONDS
from schemas.errors import ClipmillError, Endpoint, ErrorCode
from schemas.signals import BREAKER, BreakerState
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import NOT_PERMITTED
from streams.stage import StageContext

Permission = Literal["go", "trial", "wait", "no"]
"""``go``: permitted; ``trial``: permitted as a granted trial; ``wait``: request a trial, or wait
for the result of the others; ``no``: not permitted."""

NO_DEADLINE = datetime.max.replace(tzinfo=UTC)


def permission_of(state: BreakerState | None, trial: str, now: datetime) -> Permission:
    """Return what a breaker permits to the event that would request this trial."""
    if state is None or state.state == "closed":
        return "go"
    if state.state == "half_open":
        return "trial" if trial in state.trials else "wait"
    is_due = state.until is None or state.until <= now
    return "wait" if state.state == "open" and is_due else "no"


def has_free_trials(state: BreakerState | None) -> bool:
    """Return whether the monitor would grant a trial now."""
    return state is None or state.state != "half_open" or len(state.trials) < state.trials_max


def by_preference(egresses: Sequence[str], avoided: Sequence[str], subject: str) -> list[str]:
    """Return the egresses for a subject, best first, without the avoided ones unless all are.

    Rendezvous hashing: a subject has the same order in every worker, so that kept connections are
    reused; subjects are spread over the egresses, and if one is removed only its own subjects move.
    """
    wanted = [name for name in egresses if name not in avoided] or list(egresses)
    return sorted(
        wanted,
        key=lambda name: hashlib.blake2b(f"{name}|{subject}".encode(), digest_size=8).digest(),
    )


def first_to_permit(states: Sequence[BreakerState]) -> BreakerState:
    """Return the breaker that permits a call first; one that is forced open comes last."""
    return min(
        states,
        key=lambda each: NO_DEADLINE if each.state == "forced_open" else each.until or each.since,
    )


def not_permitted_error(state: BreakerState) -> ClipmillError:
    """Return the error of a call that this breaker does not permit."""
    how, since = state.state.replace("_", "-"), state.since.isoformat(timespec="seconds")
    parts = [f"no attempt was made: the circuit breaker {state.name} is {how} since {since}"]
    if state.reason is not None:
        parts.append(f"because of {state.reason}")
    if state.by:
        parts.append(f"forced by {state.by}")
    if state.until is not None:
        parts.append(f"until {state.until.isoformat(timespec='seconds')}")
    code = state.reason or ErrorCode.NETWORK_SERVER
    error = ClipmillError(code, " ".join(parts), breaker=state.name)
    error.endpoint = Endpoint(
        platform=state.platform, operation=state.operation, egress=state.egress
    )
    error.permitted = False
    return error


REQUESTS_IN_FLIGHT = 5
"""Trial requests of one breaker that a worker has in flight, as many as there are trials by
default. When each of 300 parked events sent its own, requests and withdrawals on a busy machine
came faster than the monitor handled them: each grant came after its event had timed out, and the
breaker stayed half-open for minutes."""

QUEUE_SECONDS = 2.0
"""Timeout, in seconds, for a place in the bulkhead: a granted trial takes about a second. The event
is parked then, because it is in flight as long as it waits."""


class BreakerClient:
    """Requests trials of half-open breakers; the monitor, their single writer, grants them.

    A bulkhead bounds the requests in flight of each breaker.

    Args:
        context: has the breakers' states, and sends records to the monitor.
        clock: the time that breakers' deadlines are compared with.
        grant_seconds: timeout of a request for a trial.
    """

    def __init__(
        self, context: StageContext, *, clock: Callable[[], datetime], grant_seconds: float
    ) -> None:
        self._context = context
        self._clock = clock
        self._grant_seconds = grant_seconds
        self._bulkheads: defaultdict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(REQUESTS_IN_FLIGHT)
        )

    def permission(self, planned: PlannedAttempt) -> Permission:
        """Return what the attempt's breaker permits now."""
        return permission_of(self._state(planned), planned.trial_id, self._clock())

    def has_free_trials(self, planned: PlannedAttempt) -> bool:
        """Return whether the monitor would grant a trial now."""
        return has_free_trials(self._state(planned))

    async def request_trial(
        self, planned: PlannedAttempt, *, blocking: bool
    ) -> PlannedAttempt | None:
        """Request a trial and return the attempt that is permitted then, None if there is none.

        A caller with another egress is not ``blocking``: it is rejected at once when the bulkhead
        is full, or all trials are granted to others.
        """
        bulkhead = self._bulkheads[planned.breaker]
        if bulkhead.locked() and not blocking:
            return None
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await bulkhead.acquire()
        except TimeoutError:
            return None
        try:
            return await self._request(planned, blocking=blocking)
        finally:
            bulkhead.release()

    async def _request(self, planned: PlannedAttempt, *, blocking: bool) -> PlannedAttempt | None:
        trial = replace(planned, trial=planned.trial_id)
        if self.permission(planned) == "wait":
            self._context.publish_best_effort(trial_record(planned, self._clock()))
        with self.withdrawn_on_error(trial):
            await self._wait_for_grant(planned, blocking=blocking)
        match self.permission(planned):
            case "go":
                return planned
            case "trial":
                return trial
        # A monitor that was away would grant it later, and no worker would report its outcome.
        self.withdraw(trial)
        return None

    async def _wait_for_grant(self, planned: PlannedAttempt, *, blocking: bool) -> None:
        """Return when the breaker's state decides the request, or after the timeout."""
        changed = asyncio.Event()
        with (
            self._context.shared_state.watch(planned.state_key, callback=changed.set),
            suppress(TimeoutError),
        ):
            async with asyncio.timeout(self._grant_seconds):
                while self._is_pending(planned, blocking=blocking):
                    changed.clear()
                    await changed.wait()

    @contextmanager
    def withdrawn_on_error(self, planned: PlannedAttempt) -> Iterator[None]:
        """Withdraw a trial when the block is cancelled or raises an unexpected exception.

        A `ClipmillError` is an outcome of the trial; its raiser reports it.
        """
        try:
            yield
        except ClipmillError:
            raise
        except BaseException:
            self.withdraw(planned)
            raise

    def withdraw(self, planned: PlannedAttempt) -> None:
        """Free the slot of a trial that was granted, or may still be, and is not made."""
        if planned.trial is not None:
            self._context.publish_best_effort(trial_record(planned, self._clock(), withdrawn=True))

    def not_permitted(self, candidates: Sequence[PlannedAttempt]) -> ClipmillError:
        """Count and return the error when no candidate is permitted: that of the first to be."""
        states = [state for each in candidates if (state := self._state(each)) is not None]
        state = first_to_permit(states)
        NOT_PERMITTED.labels(state.platform, state.operation).inc()
        return not_permitted_error(state)

    def _is_pending(self, planned: PlannedAttempt, *, blocking: bool) -> bool:
        if self.permission(planned) != "wait":
            return False
        return blocking or has_free_trials(self._state(planned))

    def _state(self, planned: PlannedAttempt) -> BreakerState | None:
        return breaker_state(self._context.shared_state, planned.breaker, self._clock())


def breaker_state(shared_state: SharedState, name: str, now: datetime) -> BreakerState | None:
    """Return the state of a breaker; None when there is none, or it is malformed.

    Its times are by the monitor's clock. They are shifted to this worker's: a breaker is open for
    as long as the monitor meant, however far the clocks are apart or jump.
    """
    key = f"{BREAKER}{name}"
    state = shared_state.read(key, BreakerState)
    if state is None or (state.until is None and state.budget_until is None):
        return state
    since = shared_state.published_at(key, state.since, now)
    until = None if state.until is None else since + (state.until - state.since)
    budget_until = state.budget_until
    if budget_until is not None:
        # A bound is enough: the monitor publishes the end of the budget's hold as well.
        budget_until = min(budget_until, now + timedelta(seconds=BUDGET_SECONDS))
    return msgspec.structs.replace(state, since=since, until=until, budget_until=budget_until)
