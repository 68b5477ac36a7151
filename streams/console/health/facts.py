"""What the console knows of the service at a time, gathered for the overview."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from schemas.signals import AccountState, BreakerState, EngineState, IntakeSignal, RateState
from streams.console.dead_letters import DeadLetters
from streams.console.errors import CallError
from streams.console.health.lag import LagReport
from streams.console.health.shared_states import (
    accounts,
    breakers,
    engines,
    media_hosts,
    pauses,
    rates,
)
from streams.console.services import Services
from streams.history.rows import RequestFilter
from streams.history.statistics import (
    FailureGroup,
    Results,
    Waiting,
    read_failures,
    read_results,
    read_waiting,
)
from streams.history.store import HistoryStore
from streams.media_host_waits import WaitingHost

FRESH_SECONDS = 2.0
"""Time for which facts are used again: open pages ask for them every 5 s."""

MINUTES = (5, 60)
"""Time spans of the results."""


class DeadLetterCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The dead letters that need an operator.

    Attributes:
        waiting: number of dead letters that were never replayed, by error code.
        parked: number of dead letters that have failed again after replays.
        problem: why they are unknown.
    """

    waiting: Mapping[str, int] = {}
    parked: int = 0
    problem: str | None = None


class HistoryFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the history says.

    Attributes:
        states: number of requests by state.
        results: counts and times of the last `MINUTES`, shortest time span first.
        failures: all groups, the largest first.
    """

    states: Mapping[str, int]
    results: tuple[Results, ...]
    waiting: Waiting
    failures: tuple[FailureGroup, ...]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the service.

    Attributes:
        stages: names of all stages.
        delaying: stages whose records wait on purpose.
        media_hosts: hosts that videos wait for and no platform lists.
        pauses: the paused stages.
    """

    now: datetime
    history: HistoryFacts
    lag: LagReport
    stages: tuple[str, ...]
    delaying: frozenset[str]
    breakers: tuple[BreakerState, ...]
    rates: tuple[RateState, ...]
    accounts: tuple[AccountState, ...]
    engines: tuple[EngineState, ...]
    media_hosts: tuple[WaitingHost, ...] = ()
    pauses: Mapping[str, IntakeSignal]
    dead_letters: DeadLetterCounts


class FactsReader:
    """Reads the facts, and shares them among the callers of some seconds.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._clock = clock
        self._lock = asyncio.Lock()
        self._facts: Facts | None = None
        self._at = 0.0

    async def read(self) -> Facts:
        """Return the facts of the last `FRESH_SECONDS`."""
        async with self._lock:
            if self._facts is None or self._clock() - self._at >= FRESH_SECONDS:
                self._facts = await _read_facts(self._services)
                self._at = self._clock()
            return self._facts


async def _read_facts(services: Services) -> Facts:
    now = time.time()
    moment = datetime.fromtimestamp(now, UTC)
    state = services.shared_state
    history, lag, dead_letters = await asyncio.gather(
        asyncio.to_thread(read_history, services.store, now),
        services.lag.read(),
        asyncio.to_thread(count_dead_letters, services.dead_letters),
    )
    return Facts(
        now=moment,
        history=history,
        lag=lag,
        stages=tuple(each.name for each in services.stages),
        delaying=frozenset(each.name for each in services.stages if each.due is not None),
        breakers=breakers(state),
        rates=rates(state),
        accounts=accounts(state, moment),
        engines=engines(state, moment),
        media_hosts=media_hosts(state),
        pauses=pauses(state),
        dead_letters=dead_letters,
    )


def read_history(store: HistoryStore, now: float) -> HistoryFacts:
    return HistoryFacts(
        states=store.counts(RequestFilter()),
        results=tuple(read_results(store, minutes * 60.0, now) for minutes in MINUTES),
        waiting=read_waiting(store),
        failures=tuple(read_failures(store, now)),
    )


def count_dead_letters(dead_letters: DeadLetters) -> DeadLetterCounts:
    try:
        entries = dead_letters.entries()
    except CallError as error:
        return DeadLetterCounts(problem=str(error))
    states = [(each.state(dead_letters.replays_max), each.metadata.code) for each in entries]
    waiting = Counter(code for state, code in states if state == "waiting")
    parked = sum(state == "parked" for state, _ in states)
    return DeadLetterCounts(waiting=dict(waiting.most_common()), parked=parked)


def is_cut(rate: RateState, now: datetime) -> bool:
    """Return whether a rate is below its setting, or paused."""
    is_paused = rate.until is not None and rate.until > now
    return is_paused or rate.requests_per_second is not None
