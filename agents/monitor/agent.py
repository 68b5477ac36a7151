"""monitor: single writer of circuit breakers and adaptive rates.

It consumes the topic ``attempts``: reports of network attempts, trial requests of workers, and
commands of operators, one after the other per platform, operation and egress. State changes in
memory; a table row is written when the published state changes, else once a second. A crash loses
up to a second of counted attempts, but no transition: the record that caused it is committed only
after row and published state are written.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from agents.access.rate_limits import RATE_LIMITED
from agents.monitor import breakers as monitored_breakers
from agents.monitor import rates as monitored_rates
from agents.monitor.breakers import MonitoredBreakers
from agents.monitor.rates import MonitoredRates
from agents.resilience.adaptive_rate import RateRules
from agents.resilience.breaker_rules import BreakerRules
from schemas import MalformedMessageError, decode
from schemas.attempts import AttemptRecord, BreakerCommand, NetworkAttempt
from streams import (
    ATTEMPTS,
    Effect,
    Handler,
    Incoming,
    Stage,
    StageContext,
    dead_letter,
    open_envelope,
)
from streams.settings import BreakerSettings, LimitSettings
from streams.topics import HEARTBEATS, SIGNALS

NAME = "monitor"
TABLES = (monitored_breakers.TABLE, monitored_rates.TABLE)
SWEEP_SECONDS = 5.0


class Monitor:
    """Record handler of the stage."""

    def __init__(
        self,
        breakers: MonitoredBreakers,
        rates: MonitoredRates,
        clock: Callable[[], float],
    ) -> None:
        self._breakers = breakers
        self._rates = rates
        self._clock = clock

    async def handle(self, record: Incoming) -> Sequence[Effect]:
        """Apply an attempt, a trial request or a command."""
        try:
            message, cause = _decode(record)
        except MalformedMessageError as error:
            return [dead_letter(record, error, NAME)]
        now = self._clock()
        if message.operation not in RATE_LIMITED:
            return self._breakers.on_message(message, cause, now, ignore_limits=False)
        rate_effects = self._update_rate(message, cause, now)
        rate_reacts = self._rate_reacts(message, now)
        return [
            *rate_effects,
            *self._breakers.on_message(message, cause, now, ignore_limits=rate_reacts),
        ]

    def _update_rate(self, message: AttemptRecord, cause: str, now: float) -> Sequence[Effect]:
        """Apply a message to the rate; while the breaker is not closed, only a reset."""
        match message:
            case NetworkAttempt() if self._breakers.is_closed(message, now):
                return self._rates.on_attempt(message, cause, now)
            case BreakerCommand(action="reset"):
                return self._rates.reset(message, cause, now)
            case _:
                return ()

    def _rate_reacts(self, message: AttemptRecord, now: float) -> bool:
        """Return whether the rate limit reacts to an attempt instead of the breaker.

        That holds for every attempt while the rate limit handles 429: an attempt that ends after
        one must not open the breaker for it.
        """
        return isinstance(message, NetworkAttempt) and self._rates.handles_limits(message, now)

    def sweep(self, breakers: Mapping[str, bytes], rates: Mapping[str, bytes]) -> Sequence[Effect]:
        """Return due writes of the rows that this process owns.

        These are expiries, rows that are behind, and published states that a crash lost or that a
        former owner overwrote.
        """
        now = self._clock()
        return [*self._breakers.sweep(breakers, now), *self._rates.sweep(rates, now)]


def _decode(record: Incoming) -> tuple[AttemptRecord, str]:
    """Return the message of a record, and its event id.

    Raises:
        MalformedMessageError: it cannot be decoded, or its key is not its breaker's name: two
            processes would write one breaker.
    """
    envelope = open_envelope(record)
    message: AttemptRecord = decode(envelope.data, AttemptRecord)  # type: ignore[arg-type]
    if record.key != message.name.encode():
        raise MalformedMessageError("key", f"must be {message.name[:100]}")
    return message, envelope.id


def rules_of(settings: BreakerSettings) -> BreakerRules:
    return BreakerRules(**settings.model_dump())


def rate_rules_of(settings: LimitSettings, videos: int, platform: str) -> RateRules:
    """Return the parameters of a platform's rates; ``videos`` is `RateRules.suspicious_videos`."""
    return RateRules(
        limit=settings.limit_of(platform),
        floor=settings.floor_requests_per_second,
        recovery_seconds=settings.recovery_seconds,
        pause_seconds_max=settings.pause_seconds_max,
        suspicious_videos=videos,
    )


def on_bug(record: Incoming, error: Exception) -> Sequence[Effect]:
    """Return the record as a dead letter."""
    return [dead_letter(record, error, NAME)]


@asynccontextmanager
async def open_monitor(context: StageContext) -> AsyncIterator[Handler]:
    settings, read_signal = context.settings, context.shared_state.get
    breakers, rates = (context.tables[name] for name in TABLES)
    videos = settings.breaker.suspicious_videos
    monitor = Monitor(
        MonitoredBreakers(
            rules_of(settings.breaker), NAME, read_row=breakers.get, read_signal=read_signal
        ),
        MonitoredRates(
            lambda platform: rate_rules_of(settings.limits, videos, platform),
            NAME,
            read_row=rates.get,
            read_signal=read_signal,
        ),
        clock=steady_clock(),
    )
    context.periodic.append(
        (SWEEP_SECONDS, lambda: [monitor.sweep(dict(breakers.items()), dict(rates.items()))])
    )
    yield monitor.handle


stage = Stage(
    name=NAME,
    sources=(ATTEMPTS,),
    open=open_monitor,
    on_bug=on_bug,
    writes=(HEARTBEATS, SIGNALS),
    purpose="observes the attempts, opens and closes circuit breakers, and sends heartbeats",
    tables=TABLES,
    sends_heartbeats=True,
)


def steady_clock() -> Callable[[], float]:
    """Return a clock: the wall clock of this moment, monotonic from now on.

    Only for times that are compared within one process. Times that other processes or people read
    need `time.time`.
    """
    offset = time.time() - time.monotonic()
    return lambda: offset + time.monotonic()
