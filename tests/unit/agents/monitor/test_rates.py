"""MonitoredRates after a clock that was an hour ahead is set back."""

from collections.abc import Sequence

from agents.monitor.rates import MonitoredRates
from agents.resilience.adaptive_rate import AdaptiveRate, RateRules
from schemas.codec import decode
from schemas.errors import ErrorCode
from schemas.signals import RATE, RateState
from streams.records import Effect, Outgoing, TableWrite
from tests.unit.agents.resilience.calls import NOW, attempt, to_datetime

HOUR = 3_600.0
RULES = RateRules(limit=100, floor=1, recovery_seconds=100, pause_seconds_max=60)
NAME = attempt().name


class RatesHarness:
    """Monitored rates, with their rows and published states."""

    def __init__(self) -> None:
        self.rows: dict[str, bytes] = {}
        self.shared_state: dict[str, bytes] = {}
        self.rates = MonitoredRates(
            lambda _: RULES, "monitor", read_row=self.rows.get, read_signal=self.shared_state.get
        )

    def apply(self, effects: Sequence[Effect]) -> None:
        for each in effects:
            if isinstance(each, TableWrite):
                self.rows[each.key] = each.value or b""
            elif isinstance(each, Outgoing):
                self.shared_state[(each.key or b"").decode()] = each.value or b""

    def observe(
        self, at: float, subject: object, code: ErrorCode | None, wait: float | None = None
    ) -> None:
        made = attempt(subject, code, at=at, seconds=0.1, retry_after_seconds=wait)
        self.apply(self.rates.on_attempt(made, "c", at))

    def sweep(self, now: float) -> None:
        self.apply(self.rates.sweep(self.rows, now))

    @property
    def row(self) -> AdaptiveRate:
        return decode(self.rows[NAME], AdaptiveRate)

    @property
    def published(self) -> RateState:
        return decode(self.shared_state[f"{RATE}{NAME}"], RateState)


def harness_with_future_rate() -> RatesHarness:
    harness = RatesHarness()
    harness.observe(NOW + HOUR, "well", None)
    for number in range(3):
        harness.observe(NOW + HOUR + 2, number, ErrorCode.RATE_LIMIT_API, 1e6)
    return harness


def test_sweep_moves_future_timestamps_to_the_present() -> None:
    harness = harness_with_future_rate()
    assert harness.row.cut_at > NOW + HOUR
    harness.sweep(NOW)
    row = harness.row
    assert max(row.cut_at, row.increased_at, row.succeeded_at, row.active_at) <= NOW
    assert row.until == NOW + RULES.pause_seconds_max
    assert harness.published.until == to_datetime(NOW + RULES.pause_seconds_max)


def test_recovery_is_published_after_the_clock_was_set_back() -> None:
    harness = harness_with_future_rate()
    before = harness.published.requests_per_second or 0
    for second in range(200):
        harness.observe(NOW + second, second, None)
    harness.sweep(NOW + 200)
    assert 0 < before < RULES.limit
    assert (harness.published.requests_per_second, harness.published.until) == (None, None)


def test_future_successes_do_not_keep_a_breaker_closed() -> None:
    harness = harness_with_future_rate()
    assert harness.rates.handles_limits(attempt(), NOW)
    harness.sweep(NOW)
    assert not harness.rates.handles_limits(attempt(), NOW + 30)
