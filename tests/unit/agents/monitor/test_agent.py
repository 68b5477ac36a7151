import logging
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import Gauge

from agents.monitor.agent import (
    NAME,
    SWEEP_SECONDS,
    TABLES,
    Monitor,
    on_bug,
    rate_rules_of,
    rules_of,
    steady_clock,
)
from agents.monitor.agent import stage as monitor_stage
from agents.monitor.breakers import IDLE_SECONDS, TABLE, MonitoredBreakers, describe
from agents.monitor.rates import IDLE_SECONDS as RATE_IDLE_SECONDS
from agents.monitor.rates import TABLE as RATES
from agents.monitor.rates import MonitoredRates
from agents.monitor.write_behind import REPUBLISH_SECONDS
from agents.resilience.adaptive_rate import AdaptiveRate, RateRules
from agents.resilience.circuit_breaker import Breaker
from schemas.attempts import AttemptRecord
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from schemas.signals import BREAKER, RATE, BreakerState, RateState
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import ATTEMPT_ERRORS, BREAKER_STATE, BREAKER_TRANSITIONS
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.settings import BreakerSettings, LimitSettings
from streams.topics import ATTEMPTS, SIGNALS
from tests.unit.agents.builders import (
    Clock,
    apply_writes,
    body_of,
    dead_letters,
    header,
    make_context,
    make_record,
    make_settings,
    make_table,
    only_record,
    opened_stage,
    sent_to,
    writes,
)
from tests.unit.agents.caching.slices import effects_in
from tests.unit.agents.resilience.calls import (
    BLOCK,
    NOT_FOUND,
    SERVER,
    attempt,
    breaker_command,
    to_datetime,
    trial_request,
)

BREAKER_NAME = "tiktok:extract:a"
KEY = f"{BREAKER}{BREAKER_NAME}"
LABELS = ("tiktok", "extract", "a")
RULES = rules_of(BreakerSettings())


def incoming_attempt(message: AttemptRecord, key: str | None = None) -> Incoming:
    return make_record(
        encode(message),
        topic=ATTEMPTS,
        key=(key or message.name).encode(),
        headers=(("ce_id", b"cause-1"),),
    )


NO_ADAPTATION = LimitSettings(default_requests_per_second=0.5)
"""The limit equals the floor, so the rate is not adapted."""


class MonitorHarness:
    """A monitor with its tables and shared state; effects are applied at once."""

    def __init__(self, limits: LimitSettings = NO_ADAPTATION) -> None:
        self.limits = limits
        self.table = make_table(TABLE)
        self.rates = make_table(RATES)
        self.shared_state = SharedState()
        self.clock = Clock()
        self.monitor = self.new_monitor()

    def new_monitor(self) -> Monitor:
        """Return a monitor as after a restart: without memory, with the tables."""
        read_signal = self.shared_state.get
        breakers = MonitoredBreakers(RULES, NAME, read_row=self.table.get, read_signal=read_signal)
        rates = MonitoredRates(self.rules, NAME, read_row=self.rates.get, read_signal=read_signal)
        return Monitor(breakers, rates, self.clock)

    def rules(self, platform: str) -> RateRules:
        return rate_rules_of(self.limits, 3, platform)

    async def run(self, *messages: AttemptRecord) -> list[Effect]:
        """Handle messages; return the effects of the last one."""
        effects: list[Effect] = []
        for message in messages:
            effects = list(await self.monitor.handle(incoming_attempt(message)))
            self.apply(effects)
        return effects

    def sweep(self) -> list[Effect]:
        """Run the sweep; return its effects without the rows of rates."""
        effects = list(self.sweep_effects())
        self.apply(effects)
        return [each for each in effects if each not in rows_of(effects, RATES)]

    def sweep_effects(self) -> Sequence[Effect]:
        return self.monitor.sweep(dict(self.table.items()), dict(self.rates.items()))

    def apply(self, effects: Sequence[Effect]) -> None:
        apply_writes(self.table, effects)
        apply_writes(self.rates, effects)
        for sent in sent_to(effects, SIGNALS):
            self.shared_state.put((sent.key or b"").decode(), sent.value)

    @property
    def state(self) -> BreakerState | None:
        value = self.shared_state.get(KEY)
        return None if value is None else decode(value, BreakerState)

    @property
    def row(self) -> Breaker:
        return decode(self.table.get(BREAKER_NAME) or b"", Breaker)

    @property
    def rate_state(self) -> RateState | None:
        value = self.shared_state.get(f"{RATE}{BREAKER_NAME}")
        return None if value is None else decode(value, RateState)


def rows_of(effects: Sequence[Effect], table: str = TABLE) -> list[TableWrite]:
    return [each for each in writes(effects) if each.table == table]


def blocked_attempts(count: int = 3, at: float = 1_000.0) -> list[AttemptRecord]:
    return [attempt(number, BLOCK, at=at) for number in range(count)]


async def harness_with_open_breaker() -> MonitorHarness:
    harness = MonitorHarness()
    await harness.run(*blocked_attempts())
    assert harness.state is not None
    return harness


def gauge_value(gauge: Gauge, *labels: str) -> float | None:
    for metric in gauge.collect():
        for sample in metric.samples:
            if tuple(sample.labels.values()) == labels:
                return sample.value
    return None


# Published states


async def test_healthy_breaker_is_not_published() -> None:
    harness = MonitorHarness()
    effects = await harness.run(attempt(1), attempt(2, SERVER), attempt(3, NOT_FOUND))
    assert sent_to(effects, SIGNALS) == []
    assert sent_to(harness.sweep(), SIGNALS) == []
    assert harness.state is None


async def test_state_change_writes_the_row_and_publishes_the_state() -> None:
    harness = MonitorHarness()
    await harness.run(*blocked_attempts(2))
    effects = await harness.run(attempt(2, BLOCK))
    sent = only_record(effects, SIGNALS)
    assert sent.key == KEY.encode()
    assert body_of(sent, BreakerState) == BreakerState(
        platform="tiktok",
        operation="extract",
        egress="a",
        state="open",
        reason=BLOCK,
        since=to_datetime(1_000),
        until=to_datetime(1_030),
        openings=1,
    )
    (row,) = rows_of(effects)
    assert (row.table, row.key) == (TABLE, BREAKER_NAME)
    assert decode(row.value or b"", Breaker).state == "open"


async def test_published_state_has_envelope_headers_and_a_stable_id() -> None:
    sent = [only_record(await MonitorHarness().run(*blocked_attempts()), SIGNALS) for _ in range(2)]
    assert header(sent[0], "ce_type") == "io.clipmill.breaker.changed.v1"
    assert header(sent[0], "ce_causationid") == "cause-1"
    assert header(sent[0], "ce_correlationid") == KEY
    assert header(sent[0], "ce_source") == "/clipmill/monitor"
    assert header(sent[0], "ce_id") == header(sent[1], "ce_id")


async def test_different_states_have_different_ids() -> None:
    harness = MonitorHarness()
    first = only_record(await harness.run(*blocked_attempts()), SIGNALS)
    second = only_record(await harness.run(breaker_command("open")), SIGNALS)
    assert header(first, "ce_id") != header(second, "ce_id")


async def test_unchanged_state_is_not_published_again() -> None:
    harness = await harness_with_open_breaker()
    assert sent_to(await harness.run(attempt(9, BLOCK)), SIGNALS) == []
    assert sent_to(harness.sweep(), SIGNALS) == []


async def test_state_in_flight_is_not_published_twice() -> None:
    harness = MonitorHarness()
    await harness.run(*blocked_attempts())
    harness.shared_state.put(KEY, None)
    assert sent_to(await harness.run(attempt(9, BLOCK)), SIGNALS) == []


async def test_each_endpoint_has_its_own_breaker() -> None:
    harness = await harness_with_open_breaker()
    await harness.run(attempt(1, BLOCK, egress="b"), attempt(1, BLOCK, operation="download"))
    assert [key for key, _ in harness.shared_state.items(BREAKER)] == [KEY]
    assert len(harness.table) == 3


async def test_breaker_opens_half_opens_and_closes() -> None:
    harness = await harness_with_open_breaker()
    harness.clock.now += 29
    await harness.run(trial_request("t0"))
    assert harness.state is not None
    assert (harness.state.state, harness.state.trials) == ("open", ())
    harness.clock.now += 1
    for number in range(3):
        await harness.run(trial_request(f"t{number}"))
        assert harness.state.state in {"open", "half_open"}
        assert f"t{number}" in harness.state.trials
        await harness.run(attempt(number, trial=f"t{number}", at=harness.clock.now))
    assert (harness.state.state, harness.state.openings) == ("closed", 0)


async def test_orders_force_open_and_reset_the_breaker() -> None:
    harness = MonitorHarness()
    await harness.run(breaker_command("open"))
    assert harness.state is not None
    assert (harness.state.state, harness.state.by) == ("forced_open", "ann")
    await harness.run(breaker_command("reset"))
    assert harness.state.state == "closed"


# Rows


async def test_row_without_a_state_change_is_written_once_per_second() -> None:
    harness = MonitorHarness()
    assert len(rows_of(await harness.run(attempt(1)))) == 1
    harness.clock.now += 0.9
    assert rows_of(await harness.run(attempt(2))) == []
    harness.clock.now += 0.1
    assert len(rows_of(await harness.run(attempt(3)))) == 1
    assert len(harness.row.window) == 3


async def test_sweep_writes_pending_rows_once() -> None:
    harness = MonitorHarness()
    await harness.run(attempt(1), attempt(2))
    assert len(harness.row.window) == 1
    assert len(rows_of(harness.sweep())) == 1
    assert len(harness.row.window) == 2
    assert harness.sweep() == []


async def test_restarted_monitor_resumes_from_the_row() -> None:
    harness = MonitorHarness()
    await harness.run(*blocked_attempts(2))
    harness.sweep()
    harness.monitor = harness.new_monitor()
    await harness.run(attempt(2, BLOCK))
    assert harness.state is not None
    assert harness.state.state == "open"


async def test_row_of_another_owner_replaces_memory() -> None:
    harness = await harness_with_open_breaker()
    first_monitor, harness.monitor = harness.monitor, harness.new_monitor()
    await harness.run(breaker_command("reset"))
    harness.monitor = first_monitor
    harness.clock.now += 2
    await harness.run(attempt(1))
    harness.sweep()
    assert harness.row.state == "closed"
    assert harness.state is not None
    assert harness.state.state == "closed"


async def test_row_in_flight_does_not_overwrite_memory() -> None:
    """The sweep's row becomes visible late, between two records that were handled meanwhile."""
    harness = MonitorHarness()
    await harness.run(attempt(1), attempt(2, BLOCK))
    late = harness.sweep_effects()
    await harness.run(attempt(3, BLOCK))
    harness.apply(late)
    await harness.run(attempt(4, BLOCK))
    assert harness.row.state == "open"


async def test_undecodable_row_starts_from_a_new_breaker() -> None:
    harness = MonitorHarness()
    apply_writes(harness.table, [breaker_row(b"{")])
    await harness.run(attempt(1))
    assert len(harness.row.window) == 1


def breaker_row(value: bytes | None) -> TableWrite:
    return TableWrite(TABLE, BREAKER_NAME, value)


async def test_sweep_deletes_an_undecodable_row() -> None:
    harness = MonitorHarness()
    apply_writes(harness.table, [breaker_row(b"{")])
    (deleted,) = rows_of(harness.sweep())
    assert (deleted.key, deleted.value) == (BREAKER_NAME, None)


# Crashes


async def test_crash_between_row_and_state_is_repaired_by_the_sweep() -> None:
    harness = await harness_with_open_breaker()
    harness.shared_state.put(KEY, None)
    harness.monitor = harness.new_monitor()
    harness.sweep()
    assert harness.state is not None
    assert harness.state.state == "open"


async def test_crash_between_row_and_state_is_repaired_by_redelivery() -> None:
    harness = await harness_with_open_breaker()
    harness.shared_state.put(KEY, None)
    harness.monitor = harness.new_monitor()
    await harness.run(attempt(2, BLOCK))
    assert harness.state is not None
    assert harness.state.state == "open"


async def test_crash_between_state_and_row_reopens_on_redelivery() -> None:
    harness = MonitorHarness()
    await harness.run(*blocked_attempts(2))
    harness.sweep()
    before = dict(harness.table.items())
    await harness.run(attempt(2, BLOCK))
    apply_writes(harness.table, [breaker_row(before[BREAKER_NAME])])
    harness.monitor = harness.new_monitor()
    harness.clock.now += 3
    await harness.run(attempt(2, BLOCK))
    assert harness.row.state == "open"
    assert harness.state is not None
    assert harness.state.since == to_datetime(1_003)


async def test_stale_published_state_is_corrected_by_the_sweep() -> None:
    harness = await harness_with_open_breaker()
    open_signal = harness.shared_state.get(KEY)
    await harness.run(breaker_command("reset"))
    harness.shared_state.put(KEY, open_signal)
    harness.sweep()
    assert harness.state is not None
    assert harness.state.state == "closed"


async def test_redelivered_trial_request_grants_nothing_new() -> None:
    harness = await harness_with_open_breaker()
    harness.clock.now += 30
    await harness.run(trial_request("t0"))
    harness.sweep()
    harness.monitor = harness.new_monitor()
    assert sent_to(await harness.run(trial_request("t0")), SIGNALS) == []


# Housekeeping


async def test_overdue_trials_are_voided_by_the_sweep() -> None:
    harness = await harness_with_open_breaker()
    harness.clock.now += 30
    await harness.run(trial_request("t0"))
    harness.clock.now += 60
    harness.sweep()
    assert harness.state is not None
    assert (harness.state.state, harness.state.trials) == ("half_open", ())


async def test_idle_breaker_is_deleted_with_its_published_state() -> None:
    harness = await harness_with_open_breaker()
    await harness.run(breaker_command("reset"))
    harness.clock.now += IDLE_SECONDS - 0.1
    harness.sweep()
    assert len(harness.table) == 1
    harness.clock.now += 0.1
    effects = harness.sweep()
    tombstone = only_record(effects, SIGNALS)
    assert (tombstone.key, tombstone.value) == (KEY.encode(), None)
    assert [(each.key, each.value) for each in rows_of(effects)] == [(BREAKER_NAME, None)]
    assert harness.state is None
    assert harness.sweep() == []


async def test_idle_unpublished_breaker_needs_no_tombstone() -> None:
    harness = MonitorHarness()
    await harness.run(attempt(1))
    harness.clock.now += IDLE_SECONDS
    assert sent_to(harness.sweep(), SIGNALS) == []
    assert len(harness.table) == 0


@pytest.mark.parametrize("action", ["open", "reset"])
async def test_state_that_is_not_closed_is_republished_daily(action: Any) -> None:
    harness = MonitorHarness()
    await harness.run(breaker_command("open"), breaker_command(action))
    harness.clock.now += REPUBLISH_SECONDS - 0.1
    if action == "reset":
        await harness.run(attempt(1))
    assert sent_to(harness.sweep(), SIGNALS) == []
    harness.clock.now += 0.1
    assert len(sent_to(harness.sweep(), SIGNALS)) == (1 if action == "open" else 0)
    assert sent_to(harness.sweep(), SIGNALS) == []


async def test_breaker_of_another_owner_is_dropped() -> None:
    harness = await harness_with_open_breaker()
    apply_writes(harness.table, [breaker_row(None)])
    assert harness.sweep() == []
    assert gauge_value(BREAKER_STATE, *LABELS) is None


# Undecodable records


@pytest.mark.parametrize(
    "record",
    [
        make_record(b"{", topic=ATTEMPTS),
        make_record(None, topic=ATTEMPTS),
        make_record(b'{"kind": "surprise"}', topic=ATTEMPTS),
        incoming_attempt(attempt(1), key="tiktok:extract:b"),
        make_record(encode(attempt(1)), topic=ATTEMPTS, key=None),
    ],
    ids=["not JSON", "no value", "unknown kind", "wrong key", "no key"],
)
async def test_undecodable_record_is_dead_lettered(record: Incoming) -> None:
    harness = MonitorHarness()
    effects = await harness.monitor.handle(record)
    assert len(effects) == 1
    (dead_letter,) = dead_letters(effects)
    assert (dead_letter.key, dead_letter.value) == (record.key, record.value)
    assert header(dead_letter, "clipmill_step") == NAME
    assert len(harness.table) == 0


def test_record_that_hits_a_bug_is_dead_lettered() -> None:
    record = incoming_attempt(attempt(1))
    (dead_letter,) = dead_letters(on_bug(record, ZeroDivisionError("oh")))
    assert isinstance(dead_letter, Outgoing)
    assert dead_letter.value == record.value


# Metrics and log


async def test_state_gauge_follows_the_breaker() -> None:
    harness = await harness_with_open_breaker()
    assert gauge_value(BREAKER_STATE, *LABELS) == 2
    harness.clock.now += 30
    await harness.run(trial_request("t0"))
    assert gauge_value(BREAKER_STATE, *LABELS) == 1
    await harness.run(breaker_command("open"))
    assert gauge_value(BREAKER_STATE, *LABELS) == 3
    await harness.run(breaker_command("reset"))
    assert gauge_value(BREAKER_STATE, *LABELS) == 0


async def test_error_ratios_are_exported_and_expire() -> None:
    harness = MonitorHarness()
    await harness.run(attempt(1, SERVER), attempt(2), attempt(3), attempt(4))
    harness.sweep()
    assert gauge_value(ATTEMPT_ERRORS, *LABELS, SERVER) == 0.25
    harness.clock.now += 61
    harness.sweep()
    assert gauge_value(ATTEMPT_ERRORS, *LABELS, SERVER) == 0


async def test_deleted_breaker_has_no_gauges() -> None:
    harness = MonitorHarness()
    await harness.run(attempt(1, SERVER))
    harness.sweep()
    harness.clock.now += IDLE_SECONDS
    harness.sweep()
    assert gauge_value(BREAKER_STATE, *LABELS) is None
    assert gauge_value(ATTEMPT_ERRORS, *LABELS, SERVER) is None


async def test_transitions_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    before = BREAKER_TRANSITIONS.labels(*LABELS, "open")._value.get()
    with caplog.at_level(logging.WARNING):
        harness = await harness_with_open_breaker()
        await harness.run(attempt(7, BLOCK))
    assert BREAKER_TRANSITIONS.labels(*LABELS, "open")._value.get() == before + 1
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage() == (
        "tiktok:extract:a opened for 30 s: 3 of 3 attempts failed, 0 were slow, "
        "mostly rate_limit.ip_block"
    )


DESCRIBED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "reopened",
        {"state": "half_open"},
        {"state": "open", "since": 5.0, "until": 65.0, "reason": ErrorCode.NETWORK_DNS},
        "reopened for 60 s: its trial calls failed, mostly network.dns",
    ),
    (
        "half-open",
        {"state": "open"},
        {"state": "half_open", "trials_max": 5},
        "is half-open: 5 trial calls decide on its next state",
    ),
    (
        "forced",
        {},
        {"state": "forced_open", "by": "ann"},
        "is forced open by ann until it is reset",
    ),
    (
        "forced without a name",
        {},
        {"state": "forced_open", "by": ""},
        "is forced open by an operator until it is reset",
    ),
    ("closed", {"state": "open"}, {"state": "closed"}, "is closed: all attempts are permitted"),
]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [each[1:] for each in DESCRIBED],
    ids=[each[0] for each in DESCRIBED],
)
def test_describe_a_state_change(before: Any, after: Any, text: str) -> None:
    defaults: Any = {
        "platform": "p",
        "operation": "extract",
        "egress": "e",
        "since": 0.0,
        "active_at": 0.0,
    }
    breakers = [Breaker(**{**defaults, **each}) for each in (before, after)]
    assert describe(*breakers) == text


# The stage


async def test_stage_handles_attempts_and_sweeps() -> None:
    context, _ = make_context(make_settings(), *TABLES)
    assert (monitor_stage.name, monitor_stage.sources) == (NAME, (ATTEMPTS,))
    assert monitor_stage.sends_heartbeats
    assert monitor_stage.ordered
    async with opened_stage(monitor_stage, context) as handle:
        for message in blocked_attempts(at=1_700_000_000_000 / 1_000):
            effects = list(await handle(incoming_attempt(message)))
            apply_writes(context.tables[TABLE], effects)
        ((seconds, sweep),) = context.periodic
        assert seconds == SWEEP_SECONDS
        assert len(rows_of(effects) + rows_of(effects_in(sweep()))) >= 1


def test_rules_come_from_the_settings() -> None:
    settings = BreakerSettings(trials=7, open_seconds=3)
    assert msgspec.structs.asdict(rules_of(settings)) == settings.model_dump()


# Rates

LIMIT = ErrorCode.RATE_LIMIT_API
TEN_PER_SECOND = LimitSettings(default_requests_per_second=10)


def rate_limited_attempt(number: object, at: float, **changes: Any) -> AttemptRecord:
    return attempt(number, LIMIT, at=at, seconds=0.01, **changes)


async def harness_with_cut_rate() -> MonitorHarness:
    """Return a monitor that has observed three refusals at once."""
    harness = MonitorHarness(TEN_PER_SECOND)
    await harness.run(*(rate_limited_attempt(number, 1_000) for number in range(3)))
    return harness


async def test_full_rate_is_not_published() -> None:
    harness = MonitorHarness(TEN_PER_SECOND)
    await harness.run(attempt(1), attempt(2, NOT_FOUND))
    harness.sweep()
    assert harness.rate_state is None
    assert len(harness.rates) == 1


async def test_refusals_cut_and_publish_the_rate() -> None:
    harness = MonitorHarness(TEN_PER_SECOND)
    effects = await harness.run(*(rate_limited_attempt(number, 1_000) for number in range(3)))
    sent = only_record(effects, SIGNALS)
    assert header(sent, "ce_type") == "io.clipmill.rate.changed.v1"
    assert header(sent, "ce_causationid") == "cause-1"
    assert harness.rate_state == RateState(
        platform="tiktok",
        operation="extract",
        egress="a",
        requests_per_second=5.0,
        reason=LIMIT,
        since=to_datetime(1_000),
        cuts=1,
    )
    (row,) = rows_of(effects, RATES)
    assert decode(row.value or b"", AdaptiveRate).allowed == 5.0


async def test_each_operation_and_egress_has_its_own_rate_except_downloads() -> None:
    harness = MonitorHarness(TEN_PER_SECOND)
    for number in range(3):
        await harness.run(
            rate_limited_attempt(number, 1_000, egress="b"),
            rate_limited_attempt(number, 1_000, operation="resolve"),
            rate_limited_attempt(number, 1_000, operation="download"),
        )
    assert [key for key, _ in harness.shared_state.items(RATE)] == [
        f"{RATE}tiktok:extract:b",
        f"{RATE}tiktok:resolve:a",
    ]


async def test_small_increases_are_not_published() -> None:
    harness = await harness_with_cut_rate()
    published = []
    for step in range(1, 41):
        harness.clock.now = 1_001 + step / 4
        effects = await harness.run(attempt(f"v{step}", at=harness.clock.now, seconds=0.1))
        published += sent_to(effects, SIGNALS)
    assert harness.rate_state is not None
    assert (harness.rate_state.requests_per_second or 0) > 5
    assert 1 <= len(published) <= 10


async def test_full_recovery_is_published() -> None:
    harness = await harness_with_cut_rate()
    for step in range(1, 400):
        harness.clock.now = 1_001 + step
        await harness.run(attempt(f"v{step}", at=harness.clock.now, seconds=0.1))
    assert harness.rate_state is not None
    assert (harness.rate_state.requests_per_second, harness.rate_state.reason) == (None, None)


async def test_restarted_monitor_resumes_from_the_rate() -> None:
    harness = await harness_with_cut_rate()
    harness.monitor = harness.new_monitor()
    harness.clock.now += 2
    await harness.run(
        *(rate_limited_attempt(number, harness.clock.now, cuts=1) for number in range(3))
    )
    assert harness.rate_state is not None
    assert harness.rate_state.requests_per_second == 1.5
    assert harness.rate_state.cuts == 2


async def test_lost_rate_state_is_republished_by_the_sweep() -> None:
    harness = await harness_with_cut_rate()
    harness.shared_state.put(f"{RATE}{BREAKER_NAME}", None)
    harness.monitor = harness.new_monitor()
    harness.sweep()
    assert harness.rate_state is not None


async def test_reset_restores_the_full_rate() -> None:
    harness = await harness_with_cut_rate()
    await harness.run(breaker_command("reset"))
    assert harness.rate_state is not None
    assert harness.rate_state.requests_per_second is None


async def test_attempts_started_before_a_reset_do_not_cut() -> None:
    harness = await harness_with_cut_rate()
    await harness.run(breaker_command("reset"))
    harness.clock.now += 2
    await harness.run(
        *(rate_limited_attempt(number, harness.clock.now, cuts=1) for number in range(5))
    )
    assert harness.rate_state is not None
    assert harness.rate_state.requests_per_second is None


async def test_idle_rate_is_deleted_with_its_published_state() -> None:
    harness = await harness_with_cut_rate()
    harness.clock.now += RATE_IDLE_SECONDS
    harness.sweep()
    assert harness.rate_state is None
    assert len(harness.rates) == 0


async def test_expired_pause_is_lifted_by_the_sweep() -> None:
    harness = MonitorHarness(TEN_PER_SECOND)
    await harness.run(
        *(rate_limited_attempt(each, 1_000, retry_after_seconds=7.0) for each in range(3))
    )
    assert harness.rate_state is not None
    assert harness.rate_state.until == to_datetime(1_007)
    harness.clock.now += 7
    harness.sweep()
    assert harness.rate_state.until is None


async def states_during_429(
    harness: MonitorHarness, *, successes: int, seconds: int = 30
) -> list[str]:
    """Report ten attempts a second, some of them successes; return the breaker states."""
    states: list[str] = []
    for step in range(seconds * 10):
        harness.clock.now = 1_000 + step / 10
        code = None if step % 10 < successes else LIMIT
        cuts = harness.rate_state.cuts if harness.rate_state else 0
        await harness.run(attempt(f"v{step}", code, at=harness.clock.now, seconds=0.05, cuts=cuts))
        states.append(harness.state.state if harness.state else "closed")
    return states


async def test_429_does_not_open_the_breaker_while_the_rate_handles_it() -> None:
    harness = MonitorHarness(LimitSettings(default_requests_per_second=1_000))
    assert set(await states_during_429(harness, successes=2, seconds=5)) == {"closed"}
    assert harness.rate_state is not None
    assert (harness.rate_state.requests_per_second or 1_000) <= 30


async def test_429_opens_the_breaker_when_nothing_succeeds() -> None:
    harness = MonitorHarness(LimitSettings(default_requests_per_second=1_000))
    states = await states_during_429(harness, successes=0, seconds=10)
    assert "open" in states
    assert states.index("open") < 60


async def test_429_opens_the_breaker_when_the_rate_is_at_its_floor() -> None:
    assert "open" in await states_during_429(MonitorHarness(TEN_PER_SECOND), successes=2)


async def test_other_failures_open_the_breaker_regardless_of_the_rate() -> None:
    harness = MonitorHarness(TEN_PER_SECOND)
    for step in range(20):
        harness.clock.now = 1_000 + step / 10
        await harness.run(attempt(f"v{step}", SERVER, at=harness.clock.now, seconds=0.05))
    assert harness.state is not None
    assert harness.state.state == "open"


async def test_open_breaker_does_not_cut_the_rate() -> None:
    harness = MonitorHarness(TEN_PER_SECOND)
    await harness.run(breaker_command("open"))
    await harness.run(*(rate_limited_attempt(each, 1_000) for each in range(5)))
    assert harness.rate_state is None


async def test_cut_and_full_recovery_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        harness = await harness_with_cut_rate()
        for step in range(1, 400):
            harness.clock.now = 1_001 + step
            await harness.run(attempt(f"v{step}", at=harness.clock.now, seconds=0.1))
    assert [line.getMessage() for line in caplog.records] == [
        "tiktok:extract:a is limited to 5 instead of 10 requests per second: rate_limit.api",
        "tiktok:extract:a is restored to 10 requests per second",
    ]


@pytest.mark.parametrize("jump", [-7_200.0, 3_000.0])
def test_wall_clock_jump_does_not_change_the_steady_clock(
    jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = steady_clock()
    wall = time.time()
    assert clock() == pytest.approx(wall, abs=5)
    monkeypatch.setattr(time, "time", lambda: wall + jump)
    assert clock() == pytest.approx(wall, abs=5)
