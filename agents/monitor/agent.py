"""monitor: watches every network attempt, the one writer of circuit breakers and adaptive rates.

Attempts of one platform, operation and egress come one after the other, with the trials that
workers ask for and the orders of operators. Breakers and rates are worked on in memory; the tables
get a row when the published state changes, else once a second. A crash takes up to a second of
counted attempts. It takes no state: the record that brought it about is not committed before row
and signal are written.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

from agents.access.rate_limits import PACED
from agents.monitor import breakers as monitored_breakers
from agents.monitor import rates as monitored_rates
from agents.monitor.breakers import MonitoredBreakers
from agents.monitor.rates import MonitoredRates
from agents.resilience.adaptive_rate import RateRules
from agents.resilience.breaker_rules import Rules
from schemas.attempts import AttemptRecord, BreakerOrder, NetworkAttempt
from schemas.codec import MalformedMessageError, decode
from streams.envelope import open_envelope
from streams.records import Effect, Incoming
from streams.runtime.processor import dead_letter
from streams.runtime.steady_clock import steady_clock
from streams.settings import BreakerSettings, LimitSettings
from streams.stage import Handler, Stage, StageContext
from streams.topics import ATTEMPTS

NAME = "monitor"
TABLES = (monitored_breakers.TABLE, monitored_rates.TABLE)
SWEEP_SECONDS = 5.0


class Monitor:
    """The stage's work."""

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
        """Return what follows from an attempt, a request for a trial, or an order."""
        try:
            message, cause = _read(record)
        except MalformedMessageError as error:
            return [dead_letter(record, error, NAME)]
        now = self._clock()
        if message.operation not in PACED:
            return self._breakers.hear(message, cause, now, forgiving=False)
        paced = self._pace(message, cause, now)
        forgiving = self._is_forgiving(message, now)
        return [*paced, *self._breakers.hear(message, cause, now, forgiving=forgiving)]

    def _pace(self, message: AttemptRecord, cause: str, now: float) -> Sequence[Effect]:
        """Return what a message does to the rate; a breaker that is not closed has taken over."""
        match message:
            case NetworkAttempt() if self._breakers.is_closed(message, now):
                return self._rates.hear(message, cause, now)
            case BreakerOrder(action="reset"):
                return self._rates.reset(message, cause, now)
            case _:
                return ()

    def _is_forgiving(self, message: AttemptRecord, now: float) -> bool:
        """Return whether 429 is left to the rate.

        Attempts that end after a 429 must not open the breaker for it either.
        """
        return isinstance(message, NetworkAttempt) and self._rates.handles_limits(message, now)

    def sweep(self, breakers: Mapping[str, bytes], rates: Mapping[str, bytes]) -> Sequence[Effect]:
        """Return what is to be written about what this process owns.

        That is what time has changed, rows that are behind, and signals that were not written
        before a crash, or that were overwritten by an owner that has gone.
        """
        now = self._clock()
        return [*self._breakers.sweep(breakers, now), *self._rates.sweep(rates, now)]


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


def rate_rules_of(settings: LimitSettings, videos: int, platform: str) -> RateRules:
    """Return the numbers of a platform's rates; so many videos in trouble are a sign."""
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
    """Watch the tables' rows."""
    settings, known = context.settings, context.signals.get
    breakers, rates = (context.tables[name] for name in TABLES)
    videos = settings.breaker.suspicious_videos
    monitor = Monitor(
        MonitoredBreakers(
            rules_of(settings.breaker), NAME, read_row=breakers.get, read_signal=known
        ),
        MonitoredRates(
            lambda platform: rate_rules_of(settings.limits, videos, platform),
            NAME,
            read_row=rates.get,
            read_signal=known,
        ),
        clock=steady_clock(),
    )
    context.sweeps.append(
        (SWEEP_SECONDS, lambda: monitor.sweep(dict(breakers.items()), dict(rates.items())))
    )
    yield monitor.handle


stage = Stage(
    name=NAME,
    sources=(ATTEMPTS,),
    open=open_monitor,
    on_bug=on_bug,
    tables=TABLES,
    sends_heartbeats=True,
)
