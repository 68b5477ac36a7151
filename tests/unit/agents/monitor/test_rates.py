"""The rates of a monitor whose clock was an hour ahead and is set back."""

from collections.abc import Sequence

from agents.monitor.rates import MonitoredRates
from agents.resilience.adaptive_rate import AdaptiveRate, RateRules
from schemas.codec import decode
from schemas.errors import ErrorCode
from schemas.signals import RATE, RateState
from streams.records import Effect, Outgoing, TableWrite
from tests.unit.agents.resilience.calls import NOW, attempt, moment

HOUR = 3_600.0
RULES = RateRules(limit=100, floor=1, recovery_seconds=100, pause_seconds_max=60)
NAME = attempt().name


class Kit:
    """Rates, with their rows and signals as they were written."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.signals: dict[str, bytes] = {}
        self.rates = MonitoredRates(
            lambda _: RULES, "monitor", read_row=self.rows.get, read_signal=self.signals.get
        )

    def show(self, effects: Sequence[Effect]) -> None:
        for each in effects:
            if isinstance(each, TableWrite):
                self.rows[each.key] = each.value or b""
            elif isinstance(each, Outgoing):
                self.signals[(each.key or b"").decode()] = each.value or b""

    def hear(
        self, at: float, subject: object, code: ErrorCode | None, wait: float | None = None
    ) -> None:
        made = attempt(subject, code, at=at, seconds=0.1, retry_after_seconds=wait)
        self.show(self.rates.hear(made, "c", at))

    def sweep(self, now: float) -> None:
        self.show(self.rates.sweep(self.rows, now))

    @property
    def row(self) -> AdaptiveRate:
        return decode(self.rows[NAME], AdaptiveRate)

    @property
    def told(self) -> RateState:
        return decode(self.signals[f"{RATE}{NAME}"], RateState)


def from_ahead() -> Kit:
    kit = Kit()
    kit.hear(NOW + HOUR, "well", None)
    for number in range(3):
        kit.hear(NOW + HOUR + 2, number, ErrorCode.RATE_LIMIT_API, 1e6)
    return kit


def test_a_look_brings_a_rate_from_ahead_into_the_present() -> None:
    kit = from_ahead()
    assert kit.row.cut_at > NOW + HOUR
    kit.sweep(NOW)
    row = kit.row
    assert max(row.cut_at, row.grown_at, row.well_at, row.active_at) <= NOW
    assert row.until == NOW + RULES.pause_seconds_max
    assert kit.told.until == moment(NOW + RULES.pause_seconds_max)


def test_workers_are_told_of_its_growth_although_the_clock_was_set_back() -> None:
    kit = from_ahead()
    before = kit.told.requests_per_second or 0
    for second in range(200):
        kit.hear(NOW + second, second, None)
    kit.sweep(NOW + 200)
    assert 0 < before < RULES.limit
    assert (kit.told.requests_per_second, kit.told.until) == (None, None)


def test_success_from_ahead_does_not_keep_a_breaker_closed() -> None:
    kit = from_ahead()
    assert kit.rates.handles_limits(attempt(), NOW)
    kit.sweep(NOW)
    assert not kit.rates.handles_limits(attempt(), NOW + 30)
