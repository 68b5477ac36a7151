"""monitor: watches every network attempt and is the one writer of the circuit breakers.

Attempts of one breaker come one after the other, with the trials that workers ask for and the
orders of operators. Breakers are worked on in memory; the table gets a row when the published
state changes, else once a second. A crash takes up to a second of counted attempts. It takes no
state: the record that brought it about is not committed before row and signal are written.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from agents.breaker_news import announce, measure
from agents.live_breakers import ROW_SECONDS, LiveBreakers
from agents.resilience.breaker import (
    Breaker,
    is_idle,
    new_breaker,
    on_attempt,
    on_order,
    on_trial_request,
    state_of,
    tidied,
)
from agents.resilience.rules import Rules
from schemas.attempts import AttemptRecord, BreakerOrder, NetworkAttempt, TrialRequest
from schemas.codec import MalformedMessageError, decode, encode
from streams.envelope import open_envelope
from streams.records import Effect, Incoming
from streams.settings import BreakerSettings
from streams.stage import Handler, Stage, StageContext
from streams.topics import ATTEMPTS
from streams.work import dead_letter

NAME = "monitor"
TABLE = "breakers"
SWEEP_SECONDS = 5.0

IDLE_SECONDS = 3_600.0
"""A closed breaker that nothing happened to for so long is forgotten."""


class Monitor:
    """The stage's work.

    Args:
        read_row: returns the row of a breaker.
        read_signal: returns what workers know under a key.
    """

    def __init__(
        self,
        read_row: Callable[[str], bytes | None],
        read_signal: Callable[[str], bytes | None],
        rules: Rules,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._read_row = read_row
        self._rules = rules
        self._clock = clock
        self._breakers = LiveBreakers(TABLE, NAME, read_signal)

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Return what follows from an attempt, a request for a trial, or an order."""
        try:
            message, cause = _read(record)
        except MalformedMessageError as error:
            return [dead_letter(record, error, NAME)]
        now, name = self._clock(), message.name
        live = self._breakers.at(name, self._read_row(name))
        if live is None:
            live = self._breakers.begin(name, new_breaker(message, now))
        before, live.breaker = live.breaker, self._after(live.breaker, message, now)
        announce(before, live.breaker)
        changed = state_of(before) != state_of(live.breaker)
        due = changed or now - live.written_at >= ROW_SECONDS
        row = [self._breakers.write(name, live, now)] if due else []
        return [*row, *self._breakers.tell_news(name, live, cause, now)]

    def _after(self, breaker: Breaker, message: AttemptRecord, now: float) -> Breaker:
        match message:
            case NetworkAttempt():
                return on_attempt(breaker, message, self._rules, now)
            case TrialRequest():
                return on_trial_request(breaker, message, self._rules, now)
            case BreakerOrder():
                return on_order(breaker, message, now)

    def sweep(self, rows: Mapping[str, bytes]) -> Sequence[Effect]:
        """Return what is to be written about the breakers that this process owns.

        That is what time has changed, rows that are behind, and signals that were not written
        before a crash, or that were overwritten by an owner that has gone.
        """
        self._breakers.keep(rows)
        now = self._clock()
        return [effect for name, row in rows.items() for effect in self._look(name, row, now)]

    def _look(self, name: str, row: bytes, now: float) -> Sequence[Effect]:
        live = self._breakers.at(name, row)
        if live is None or is_idle(live.breaker, IDLE_SECONDS, now):
            return self._breakers.drop(name)
        live.breaker = tidied(live.breaker, self._rules, now)
        live.codes = measure(live.breaker, live.codes)
        told = self._breakers.tell_again(name, live, now)
        behind = encode(live.breaker) != row
        return [self._breakers.write(name, live, now), *told] if behind else told


def _read(record: Incoming) -> tuple[AttemptRecord, str]:
    """Return what a record says, and its event's id.

    Raises:
        MalformedMessageError: it says nothing, or not under its breaker's name: two processes
            would write one breaker.
    """
    envelope = open_envelope(record)
    message: AttemptRecord = decode(envelope.data, AttemptRecord)  # type: ignore[arg-type]
    if record.key != message.name.encode():
        raise MalformedMessageError("key", f"must be {message.name[:100]}")
    return message, envelope.id


def rules_of(settings: BreakerSettings) -> Rules:
    """Return the numbers of the breakers."""
    return Rules(**settings.model_dump())


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return the record as a dead letter."""
    return [dead_letter(record, error, NAME)]


@asynccontextmanager
async def open_monitor(context: StageContext) -> AsyncIterator[Handler]:
    """Watch the table's rows."""
    table = context.tables[TABLE]
    monitor = Monitor(table.get, context.signals.get, rules_of(context.settings.breaker))
    context.sweeps.append((SWEEP_SECONDS, lambda: monitor.sweep(dict(table.items()))))
    yield monitor.handle


stage = Stage(name=NAME, sources=(ATTEMPTS,), open=open_monitor, on_bug=on_bug, tables=(TABLE,))
