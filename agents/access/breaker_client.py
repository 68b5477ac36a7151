"""What circuit breakers permit: their states as this worker knows them, and half-open trials."""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from agents.access.attempts import Attempting, trial_record
from agents.access.breaker_states import breaker_state
from schemas.attempts import breaker_name
from schemas.errors import ClipmillError, ErrorCode, Place
from schemas.job import Job
from schemas.signals import BreakerState
from streams.observability.metrics import NOT_PERMITTED
from streams.stage import StageContext

Permission = Literal["go", "trial", "wait", "no"]
"""``go`` as usual; ``trial`` as one of the granted trials; ``wait`` for a trial or for what the
others show; ``no``, not now."""

NO_DEADLINE = datetime.max.replace(tzinfo=UTC)


def permission(state: BreakerState | None, trial: str, now: datetime) -> Permission:
    """Return what a breaker permits to the event that would ask for this trial."""
    if state is None or state.state == "closed":
        return "go"
    if state.state == "half_open":
        return "trial" if trial in state.trials else "wait"
    is_due = state.until is None or state.until <= now
    return "wait" if state.state == "open" and is_due else "no"


def has_free_trials(state: BreakerState | None) -> bool:
    """Return whether asking for a trial may be answered at once."""
    return state is None or state.state != "half_open" or len(state.trials) < state.trials_max


def by_preference(egresses: Sequence[str], avoided: Sequence[str], subject: str) -> list[str]:
    """Return the ways out for a subject, best first, without those to avoid unless all are.

    One subject has the same order everywhere, so kept connections serve it again; the subjects
    are spread over the ways out, and when one is left out only its own subjects move (rendezvous
    hashing).
    """
    wanted = [name for name in egresses if name not in avoided] or list(egresses)
    return sorted(wanted, key=lambda name: _weight(name, subject))


def opens_next(states: Sequence[BreakerState]) -> BreakerState:
    """Return the breaker that lets something through first."""
    return min(
        states, key=lambda state: NO_DEADLINE if state.state == "forced_open" else _due(state)
    )


def refusal(state: BreakerState) -> ClipmillError:
    """Return the error of an attempt that this breaker does not permit."""
    code = state.reason or ErrorCode.NETWORK_SERVER
    error = ClipmillError(code, _sentence(state), breaker=state.name)
    error.place = Place(platform=state.platform, operation=state.operation, egress=state.egress)
    error.permitted = False
    return error


def postponement(place: Place, seconds: float) -> ClipmillError:
    """Return the error of an attempt whose turn would come in so many seconds only."""
    name = breaker_name(place.platform, place.operation, place.egress)
    message = f"nothing was tried: {name} is asked as often as it may be; its turn comes later"
    error = ClipmillError(ErrorCode.RATE_LIMIT_API, message, retry_after=round(seconds, 3))
    error.place = place
    error.permitted = False
    return error


def was_postponed(job: Job) -> bool:
    """Return whether a job comes back for its turn: then it does not begin at the end again."""
    return job.parked is not None and job.parked.code is ErrorCode.RATE_LIMIT_API


def _sentence(state: BreakerState) -> str:
    how, since = state.state.replace("_", "-"), state.since.isoformat(timespec="seconds")
    parts = [f"nothing was tried: the circuit breaker {state.name} is {how} since {since}"]
    if state.reason is not None:
        parts.append(f"because of {state.reason}")
    if state.by:
        parts.append(f"by order of {state.by}")
    if state.until is not None:
        parts.append(f"until {state.until.isoformat(timespec='seconds')}")
    return " ".join(parts)


def _due(state: BreakerState) -> datetime:
    return state.until or state.since


def _weight(egress: str, subject: str) -> bytes:
    return hashlib.blake2b(f"{egress}|{subject}".encode(), digest_size=8).digest()


REQUESTS_IN_FLIGHT = 5
"""Trial requests of one breaker that a worker has in flight, as many as there are trials by
default. When each of 300 parked events asked by itself, requests and withdrawals on a busy machine
came faster than the monitor handled them: each grant came after its event had timed out, and the
breaker stayed half-open for minutes."""

QUEUE_SECONDS = 2.0
"""Timeout for a place in the bulkhead: a granted trial takes about a second. The event is parked
then, because it is in flight as long as it waits."""


class Permissions:
    """Requests trials of half-open breakers; the monitor, their only writer, grants them.

    A bulkhead bounds the requests in flight of each breaker.

    Args:
        context: has the breakers' states, and sends what the monitor reads.
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

    def permission(self, way: Attempting) -> Permission:
        """Return what the breaker of an attempt permits at this moment."""
        return permission(self._state(way), way.trial_id, self._clock())

    def has_free_trials(self, way: Attempting) -> bool:
        """Return whether the monitor would grant a trial."""
        return has_free_trials(self._state(way))

    async def ask(self, way: Attempting, *, patient: bool) -> Attempting | None:
        """Request a trial and return the attempt that is permitted then, None if there is none.

        A caller that is not ``patient`` has another egress: a full bulkhead rejects it at once.
        """
        bulkhead = self._bulkheads[way.breaker]
        if bulkhead.locked() and not patient:
            return None
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await bulkhead.acquire()
        except TimeoutError:
            return None
        try:
            return await self._ask(way, patient=patient)
        finally:
            bulkhead.release()

    async def _ask(self, way: Attempting, *, patient: bool) -> Attempting | None:
        trial = replace(way, trial=way.trial_id)
        if self.permission(way) == "wait":
            self._context.supplement(trial_record(way, self._clock()))
        with self.given_back(trial):
            await self._until_told(way, patient=patient)
        match self.permission(way):
            case "go":
                return way
            case "trial":
                return trial
        # A monitor that was away would grant it later, and no worker would report its outcome.
        self.withdraw(trial)
        return None

    async def _until_told(self, way: Attempting, *, patient: bool) -> None:
        """Return when the monitor has answered, or after the timeout."""
        changed = asyncio.Event()
        with (
            self._context.signals.watch(way.signal, callback=changed.set),
            suppress(TimeoutError),
        ):
            async with asyncio.timeout(self._grant_seconds):
                while self._waits(way, patient=patient):
                    changed.clear()
                    await changed.wait()

    @contextmanager
    def given_back(self, way: Attempting) -> Iterator[None]:
        """Withdraw a trial when the block is cancelled or raises an unexpected exception.

        A `ClipmillError` is an outcome of the trial; its raiser reports it.
        """
        try:
            yield
        except ClipmillError:
            raise
        except BaseException:
            self.withdraw(way)
            raise

    def withdraw(self, way: Attempting) -> None:
        """Give back a trial that was granted, or may yet be, and is not made."""
        if way.trial is not None:
            self._context.supplement(trial_record(way, self._clock(), withdrawn=True))

    def not_permitted(self, ways: Sequence[Attempting]) -> ClipmillError:
        """Return the error when no way may be taken, counted: that of the first to open."""
        states = [state for way in ways if (state := self._state(way)) is not None]
        state = opens_next(states)
        NOT_PERMITTED.labels(state.platform, state.operation).inc()
        return refusal(state)

    def _waits(self, way: Attempting, *, patient: bool) -> bool:
        if self.permission(way) != "wait":
            return False
        return patient or has_free_trials(self._state(way))

    def _state(self, way: Attempting) -> BreakerState | None:
        return breaker_state(self._context.signals, way.breaker, self._clock())
