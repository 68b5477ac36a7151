import logging
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
)
from agents.monitor.agent import stage as monitor_stage
from agents.monitor.breakers import IDLE_SECONDS, TABLE, MonitoredBreakers, describe
from agents.monitor.rates import IDLE_SECONDS as RATE_IDLE_SECONDS
from agents.monitor.rates import TABLE as RATES
from agents.monitor.rates import MonitoredRates
from agents.monitor.state_store import REPEAT_SECONDS
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
    body_of,
    dead_letters,
    header,
    make_context,
    make_record,
    make_settings,
    make_table,
    only,
    opened_stage,
    sent_to,
    show,
    writes,
)
from tests.unit.agents.resilience.calls import BLOCK, GONE, SERVER, asked, attempt, moment, ordered

BREAKER_NAME = "tiktok:extract:a"
KEY = f"{BREAKER}{BREAKER_NAME}"
LABELS = ("tiktok", "extract", "a")
RULES = rules_of(BreakerSettings())


def arriving(message: AttemptRecord, key: str | None = None) -> Incoming:
    return make_record(
        encode(message),
        topic=ATTEMPTS,
        key=(key or message.name).encode(),
        headers=(("ce_id", b"cause-1"),),
    )


CALM = LimitSettings(default_requests_per_second=0.5)
"""The limit is the floor: there is nothing to adapt."""


class Kit:
    """A monitor with its tables and the signals; what is written is seen at once."""

    def __init__(self, limits: LimitSettings = CALM) -> None:
        self.limits = limits
        self.table = make_table(TABLE)
        self.rates = make_table(RATES)
        self.signals = SharedState()
        self.clock = Clock()
        self.monitor = self.process()

    def process(self) -> Monitor:
        """A process that has just started."""
        known = self.signals.get
        breakers = MonitoredBreakers(RULES, NAME, read_row=self.table.get, read_signal=known)
        rates = MonitoredRates(self.rules, NAME, read_row=self.rates.get, read_signal=known)
        return Monitor(breakers, rates, self.clock)

    def rules(self, platform: str) -> RateRules:
        return rate_rules_of(self.limits, 3, platform)

    async def run(self, *messages: AttemptRecord) -> list[Effect]:
        """Handle messages; what came of the last one."""
        effects: list[Effect] = []
        for message in messages:
            effects = list(await self.monitor.handle(arriving(message)))
            self.written(effects)
        return effects

    def sweep(self) -> list[Effect]:
        """What came of it, the rows of rates aside."""
        effects = list(self.look())
        self.written(effects)
        return [each for each in effects if each not in rows(effects, RATES)]

    def look(self) -> Sequence[Effect]:
        return self.monitor.sweep(dict(self.table.items()), dict(self.rates.items()))

    def written(self, effects: Sequence[Effect]) -> None:
        show(self.table, effects)
        show(self.rates, effects)
        for sent in sent_to(effects, SIGNALS):
            self.signals.put((sent.key or b"").decode(), sent.value)

    @property
    def state(self) -> BreakerState | None:
        value = self.signals.get(KEY)
        return None if value is None else decode(value, BreakerState)

    @property
    def row(self) -> Breaker:
        return decode(self.table.get(BREAKER_NAME) or b"", Breaker)

    @property
    def pace(self) -> RateState | None:
        """How fast workers are told to go."""
        value = self.signals.get(f"{RATE}{BREAKER_NAME}")
        return None if value is None else decode(value, RateState)


def rows(effects: Sequence[Effect], table: str = TABLE) -> list[TableWrite]:
    return [each for each in writes(effects) if each.table == table]


def blocked(count: int = 3, at: float = 1_000.0) -> list[AttemptRecord]:
    return [attempt(number, BLOCK, at=at) for number in range(count)]


async def opened() -> Kit:
    kit = Kit()
    await kit.run(*blocked())
    assert kit.state is not None
    return kit


def value_of(gauge: Gauge, *labels: str) -> float | None:
    for metric in gauge.collect():
        for sample in metric.samples:
            if tuple(sample.labels.values()) == labels:
                return sample.value
    return None


# Signals


async def test_a_breaker_that_is_well_is_not_told_of() -> None:
    kit = Kit()
    effects = await kit.run(attempt(1), attempt(2, SERVER), attempt(3, GONE))
    assert sent_to(effects, SIGNALS) == []
    assert sent_to(kit.sweep(), SIGNALS) == []
    assert kit.state is None


async def test_a_change_writes_the_row_and_tells_all_workers() -> None:
    kit = Kit()
    await kit.run(*blocked(2))
    effects = await kit.run(attempt(2, BLOCK))
    sent = only(effects, SIGNALS)
    assert sent.key == KEY.encode()
    assert body_of(sent, BreakerState) == BreakerState(
        platform="tiktok",
        operation="extract",
        egress="a",
        state="open",
        reason=BLOCK,
        since=moment(1_000),
        until=moment(1_030),
        openings=1,
    )
    (row,) = rows(effects)
    assert (row.table, row.key) == (TABLE, BREAKER_NAME)
    assert decode(row.value or b"", Breaker).state == "open"


async def test_a_signal_tells_its_type_and_cause_and_copies_have_one_id() -> None:
    sent = [only(await Kit().run(*blocked()), SIGNALS) for _ in range(2)]
    assert header(sent[0], "ce_type") == "io.clipmill.breaker.changed.v1"
    assert header(sent[0], "ce_causationid") == "cause-1"
    assert header(sent[0], "ce_correlationid") == KEY
    assert header(sent[0], "ce_source") == "/clipmill/monitor"
    assert header(sent[0], "ce_id") == header(sent[1], "ce_id")


async def test_different_states_have_different_ids() -> None:
    kit = Kit()
    first = only(await kit.run(*blocked()), SIGNALS)
    second = only(await kit.run(ordered("open")), SIGNALS)
    assert header(first, "ce_id") != header(second, "ce_id")


async def test_what_is_known_is_not_told_again() -> None:
    kit = await opened()
    assert sent_to(await kit.run(attempt(9, BLOCK)), SIGNALS) == []
    assert sent_to(kit.sweep(), SIGNALS) == []


async def test_what_is_under_way_is_not_told_twice() -> None:
    kit = Kit()
    await kit.run(*blocked())
    kit.signals.put(KEY, None)
    assert sent_to(await kit.run(attempt(9, BLOCK)), SIGNALS) == []


async def test_every_way_has_its_own_breaker() -> None:
    kit = await opened()
    await kit.run(attempt(1, BLOCK, egress="b"), attempt(1, BLOCK, operation="download"))
    assert [key for key, _ in kit.signals.items(BREAKER)] == [KEY]
    assert len(kit.table) == 3


async def test_the_life_of_a_breaker() -> None:
    kit = await opened()
    kit.clock.now += 29
    await kit.run(asked("t0"))
    assert kit.state is not None
    assert (kit.state.state, kit.state.trials) == ("open", ())
    kit.clock.now += 1
    for number in range(3):
        await kit.run(asked(f"t{number}"))
        assert kit.state.state in {"open", "half_open"}
        assert f"t{number}" in kit.state.trials
        await kit.run(attempt(number, trial=f"t{number}", at=kit.clock.now))
    assert (kit.state.state, kit.state.openings) == ("closed", 0)


async def test_orders_are_obeyed() -> None:
    kit = Kit()
    await kit.run(ordered("open"))
    assert kit.state is not None
    assert (kit.state.state, kit.state.by) == ("forced_open", "ann")
    await kit.run(ordered("reset"))
    assert kit.state.state == "closed"


# Rows


async def test_a_row_that_only_counts_on_is_written_once_a_second() -> None:
    kit = Kit()
    assert len(rows(await kit.run(attempt(1)))) == 1
    kit.clock.now += 0.9
    assert rows(await kit.run(attempt(2))) == []
    kit.clock.now += 0.1
    assert len(rows(await kit.run(attempt(3)))) == 1
    assert len(kit.row.window) == 3


async def test_the_sweep_writes_what_is_behind_once() -> None:
    kit = Kit()
    await kit.run(attempt(1), attempt(2))
    assert len(kit.row.window) == 1
    assert len(rows(kit.sweep())) == 1
    assert len(kit.row.window) == 2
    assert kit.sweep() == []


async def test_another_process_goes_on_from_the_row() -> None:
    kit = Kit()
    await kit.run(*blocked(2))
    kit.sweep()
    kit.monitor = kit.process()
    await kit.run(attempt(2, BLOCK))
    assert kit.state is not None
    assert kit.state.state == "open"


async def test_the_row_of_another_owner_is_newer_than_memory() -> None:
    kit = await opened()
    mine, kit.monitor = kit.monitor, kit.process()
    await kit.run(ordered("reset"))
    kit.monitor = mine
    kit.clock.now += 2
    await kit.run(attempt(1))
    kit.sweep()
    assert kit.row.state == "closed"
    assert kit.state is not None
    assert kit.state.state == "closed"


async def test_a_row_under_way_does_not_take_memory_back() -> None:
    """The sweep's row is shown late: between two records that were read meanwhile."""
    kit = Kit()
    await kit.run(attempt(1), attempt(2, BLOCK))
    late = kit.look()
    await kit.run(attempt(3, BLOCK))
    kit.written(late)
    await kit.run(attempt(4, BLOCK))
    assert kit.row.state == "open"


async def test_an_unreadable_row_is_begun_anew() -> None:
    kit = Kit()
    show(kit.table, [a_row(b"{")])
    await kit.run(attempt(1))
    assert len(kit.row.window) == 1


def a_row(value: bytes | None) -> TableWrite:
    return TableWrite(TABLE, BREAKER_NAME, value)


async def test_the_sweep_drops_an_unreadable_row() -> None:
    kit = Kit()
    show(kit.table, [a_row(b"{")])
    (gone,) = rows(kit.sweep())
    assert (gone.key, gone.value) == (BREAKER_NAME, None)


# Crashes


async def test_after_a_crash_between_row_and_signal_the_sweep_tells() -> None:
    kit = await opened()
    kit.signals.put(KEY, None)
    kit.monitor = kit.process()
    kit.sweep()
    assert kit.state is not None
    assert kit.state.state == "open"


async def test_after_a_crash_between_row_and_signal_the_same_record_tells() -> None:
    kit = await opened()
    kit.signals.put(KEY, None)
    kit.monitor = kit.process()
    await kit.run(attempt(2, BLOCK))
    assert kit.state is not None
    assert kit.state.state == "open"


async def test_after_a_crash_between_signal_and_row_the_same_record_opens_it_again() -> None:
    kit = Kit()
    await kit.run(*blocked(2))
    kit.sweep()
    before = dict(kit.table.items())
    await kit.run(attempt(2, BLOCK))
    show(kit.table, [a_row(before[BREAKER_NAME])])
    kit.monitor = kit.process()
    kit.clock.now += 3
    await kit.run(attempt(2, BLOCK))
    assert kit.row.state == "open"
    assert kit.state is not None
    assert kit.state.since == moment(1_003)


async def test_a_signal_that_was_overwritten_too_late_is_put_right() -> None:
    kit = await opened()
    open_signal = kit.signals.get(KEY)
    await kit.run(ordered("reset"))
    kit.signals.put(KEY, open_signal)
    kit.sweep()
    assert kit.state is not None
    assert kit.state.state == "closed"


async def test_the_same_trial_request_again_grants_nothing_new() -> None:
    kit = await opened()
    kit.clock.now += 30
    await kit.run(asked("t0"))
    kit.sweep()
    kit.monitor = kit.process()
    assert sent_to(await kit.run(asked("t0")), SIGNALS) == []


# Housekeeping


async def test_trials_that_are_not_heard_of_are_taken_back() -> None:
    kit = await opened()
    kit.clock.now += 30
    await kit.run(asked("t0"))
    kit.clock.now += 60
    kit.sweep()
    assert kit.state is not None
    assert (kit.state.state, kit.state.trials) == ("half_open", ())


async def test_an_idle_breaker_is_forgotten_with_its_signal() -> None:
    kit = await opened()
    await kit.run(ordered("reset"))
    kit.clock.now += IDLE_SECONDS - 0.1
    kit.sweep()
    assert len(kit.table) == 1
    kit.clock.now += 0.1
    effects = kit.sweep()
    tombstone = only(effects, SIGNALS)
    assert (tombstone.key, tombstone.value) == (KEY.encode(), None)
    assert [(each.key, each.value) for each in rows(effects)] == [(BREAKER_NAME, None)]
    assert kit.state is None
    assert kit.sweep() == []


async def test_an_idle_breaker_that_nobody_was_told_of_needs_no_tombstone() -> None:
    kit = Kit()
    await kit.run(attempt(1))
    kit.clock.now += IDLE_SECONDS
    assert sent_to(kit.sweep(), SIGNALS) == []
    assert len(kit.table) == 0


@pytest.mark.parametrize("action", ["open", "reset"])
async def test_a_state_that_holds_back_is_told_every_day(action: Any) -> None:
    kit = Kit()
    await kit.run(ordered("open"), ordered(action))
    kit.clock.now += REPEAT_SECONDS - 0.1
    if action == "reset":
        await kit.run(attempt(1))
    assert sent_to(kit.sweep(), SIGNALS) == []
    kit.clock.now += 0.1
    assert len(sent_to(kit.sweep(), SIGNALS)) == (1 if action == "open" else 0)
    assert sent_to(kit.sweep(), SIGNALS) == []


async def test_breakers_of_other_owners_are_let_go() -> None:
    kit = await opened()
    show(kit.table, [a_row(None)])
    assert kit.sweep() == []
    assert value_of(BREAKER_STATE, *LABELS) is None


# What cannot be read


@pytest.mark.parametrize(
    "record",
    [
        make_record(b"{", topic=ATTEMPTS),
        make_record(None, topic=ATTEMPTS),
        make_record(b'{"kind": "surprise"}', topic=ATTEMPTS),
        arriving(attempt(1), key="tiktok:extract:b"),
        make_record(encode(attempt(1)), topic=ATTEMPTS, key=None),
    ],
    ids=["no JSON", "nothing", "unknown kind", "wrong key", "no key"],
)
async def test_an_unreadable_record_is_a_dead_letter(record: Incoming) -> None:
    kit = Kit()
    effects = await kit.monitor.handle(record)
    assert len(effects) == 1
    (letter,) = dead_letters(effects)
    assert (letter.key, letter.value) == (record.key, record.value)
    assert header(letter, "clipmill_step") == NAME
    assert len(kit.table) == 0


def test_a_record_that_meets_a_bug_is_a_dead_letter() -> None:
    record = arriving(attempt(1))
    (letter,) = dead_letters(on_bug(record, ZeroDivisionError("oh")))
    assert isinstance(letter, Outgoing)
    assert letter.value == record.value


# Metrics and log


async def test_the_gauge_shows_the_state() -> None:
    kit = await opened()
    assert value_of(BREAKER_STATE, *LABELS) == 2
    kit.clock.now += 30
    await kit.run(asked("t0"))
    assert value_of(BREAKER_STATE, *LABELS) == 1
    await kit.run(ordered("open"))
    assert value_of(BREAKER_STATE, *LABELS) == 3
    await kit.run(ordered("reset"))
    assert value_of(BREAKER_STATE, *LABELS) == 0


async def test_error_ratios_are_shown_and_fall_to_nothing() -> None:
    kit = Kit()
    await kit.run(attempt(1, SERVER), attempt(2), attempt(3), attempt(4))
    kit.sweep()
    assert value_of(ATTEMPT_ERRORS, *LABELS, SERVER) == 0.25
    kit.clock.now += 61
    kit.sweep()
    assert value_of(ATTEMPT_ERRORS, *LABELS, SERVER) == 0


async def test_a_forgotten_breaker_has_no_gauges() -> None:
    kit = Kit()
    await kit.run(attempt(1, SERVER))
    kit.sweep()
    kit.clock.now += IDLE_SECONDS
    kit.sweep()
    assert value_of(BREAKER_STATE, *LABELS) is None
    assert value_of(ATTEMPT_ERRORS, *LABELS, SERVER) is None


async def test_transitions_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    before = BREAKER_TRANSITIONS.labels(*LABELS, "open")._value.get()
    with caplog.at_level(logging.WARNING):
        kit = await opened()
        await kit.run(attempt(7, BLOCK))
    assert BREAKER_TRANSITIONS.labels(*LABELS, "open")._value.get() == before + 1
    (line,) = caplog.records
    assert line.levelno == logging.ERROR
    assert line.getMessage() == (
        "tiktok:extract:a opened for 30 s: 3 of 3 attempts failed, 0 were slow, "
        "mostly rate_limit.ip_block"
    )


DESCRIBED: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "again",
        {"state": "half_open"},
        {"state": "open", "since": 5.0, "until": 65.0, "reason": ErrorCode.NETWORK_DNS},
        "opened again for 60 s: its trials failed, mostly network.dns",
    ),
    (
        "half-open",
        {"state": "open"},
        {"state": "half_open", "trials_max": 5},
        "is half-open: 5 trials will show how the platform is",
    ),
    (
        "forced",
        {},
        {"state": "forced_open", "by": "ann"},
        "was opened by ann and stays so until it is reset",
    ),
    (
        "forced by nobody",
        {},
        {"state": "forced_open", "by": ""},
        "was opened by somebody and stays so until it is reset",
    ),
    ("closed", {"state": "open"}, {"state": "closed"}, "closed: attempts are made as usual"),
]


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [each[1:] for each in DESCRIBED],
    ids=[each[0] for each in DESCRIBED],
)
def test_changes_are_described(before: Any, after: Any, text: str) -> None:
    plain: Any = {
        "platform": "p",
        "operation": "extract",
        "egress": "e",
        "since": 0.0,
        "active_at": 0.0,
    }
    rows = [Breaker(**{**plain, **each}) for each in (before, after)]
    assert describe(*rows) == text


# The stage


async def test_the_stage_is_wired() -> None:
    context, _ = make_context(make_settings(), *TABLES)
    assert (monitor_stage.name, monitor_stage.sources) == (NAME, (ATTEMPTS,))
    assert monitor_stage.sends_heartbeats
    assert monitor_stage.ordered
    async with opened_stage(monitor_stage, context) as handle:
        for message in blocked(at=1_700_000_000_000 / 1_000):
            effects = list(await handle(arriving(message)))
            show(context.tables[TABLE], effects)
        ((seconds, sweep),) = context.sweeps
        assert seconds == SWEEP_SECONDS
        assert len(rows(effects) + rows(sweep())) >= 1


def test_the_rules_are_the_settings() -> None:
    settings = BreakerSettings(trials=7, open_seconds=3)
    assert msgspec.structs.asdict(rules_of(settings)) == settings.model_dump()


# Rates

LIMIT = ErrorCode.RATE_LIMIT_API
TEN = LimitSettings(default_requests_per_second=10)


def limited(number: object, at: float, **changes: Any) -> AttemptRecord:
    return attempt(number, LIMIT, at=at, seconds=0.01, **changes)


async def cut() -> Kit:
    """A monitor that has seen three refusals at once."""
    kit = Kit(TEN)
    await kit.run(*(limited(number, 1_000) for number in range(3)))
    return kit


async def test_a_rate_that_is_well_is_not_told_of() -> None:
    kit = Kit(TEN)
    await kit.run(attempt(1), attempt(2, GONE))
    kit.sweep()
    assert kit.pace is None
    assert len(kit.rates) == 1


async def test_refusals_slow_all_workers_down() -> None:
    kit = Kit(TEN)
    effects = await kit.run(*(limited(number, 1_000) for number in range(3)))
    sent = only(effects, SIGNALS)
    assert header(sent, "ce_type") == "io.clipmill.rate.changed.v1"
    assert header(sent, "ce_causationid") == "cause-1"
    assert kit.pace == RateState(
        platform="tiktok",
        operation="extract",
        egress="a",
        requests_per_second=5.0,
        reason=LIMIT,
        since=moment(1_000),
        cuts=1,
    )
    (row,) = rows(effects, RATES)
    assert decode(row.value or b"", AdaptiveRate).allowed == 5.0


async def test_each_operation_and_egress_has_its_own_rate_and_files_have_none() -> None:
    kit = Kit(TEN)
    for number in range(3):
        await kit.run(
            limited(number, 1_000, egress="b"),
            limited(number, 1_000, operation="resolve"),
            limited(number, 1_000, operation="download"),
        )
    assert [key for key, _ in kit.signals.items(RATE)] == [
        f"{RATE}tiktok:extract:b",
        f"{RATE}tiktok:resolve:a",
    ]


async def test_small_steps_are_no_news() -> None:
    kit = await cut()
    told = []
    for step in range(1, 41):
        kit.clock.now = 1_001 + step / 4
        effects = await kit.run(attempt(f"v{step}", at=kit.clock.now, seconds=0.1))
        told += sent_to(effects, SIGNALS)
    assert kit.pace is not None
    assert (kit.pace.requests_per_second or 0) > 5
    assert 1 <= len(told) <= 10


async def test_the_whole_limit_is_told_when_it_is_reached() -> None:
    kit = await cut()
    for step in range(1, 400):
        kit.clock.now = 1_001 + step
        await kit.run(attempt(f"v{step}", at=kit.clock.now, seconds=0.1))
    assert kit.pace is not None
    assert (kit.pace.requests_per_second, kit.pace.reason) == (None, None)


async def test_another_process_goes_on_from_the_rate() -> None:
    kit = await cut()
    kit.monitor = kit.process()
    kit.clock.now += 2
    await kit.run(*(limited(number, kit.clock.now, cuts=1) for number in range(3)))
    assert kit.pace is not None
    assert kit.pace.requests_per_second == 1.5
    assert kit.pace.cuts == 2


async def test_a_rate_whose_signal_was_lost_is_told_again() -> None:
    kit = await cut()
    kit.signals.put(f"{RATE}{BREAKER_NAME}", None)
    kit.monitor = kit.process()
    kit.sweep()
    assert kit.pace is not None


async def test_a_reset_allows_all_again() -> None:
    kit = await cut()
    await kit.run(ordered("reset"))
    assert kit.pace is not None
    assert kit.pace.requests_per_second is None


async def test_what_was_asked_before_a_reset_cuts_nothing() -> None:
    kit = await cut()
    await kit.run(ordered("reset"))
    kit.clock.now += 2
    await kit.run(*(limited(number, kit.clock.now, cuts=1) for number in range(5)))
    assert kit.pace is not None
    assert kit.pace.requests_per_second is None


async def test_an_idle_rate_is_forgotten_with_its_signal() -> None:
    kit = await cut()
    kit.clock.now += RATE_IDLE_SECONDS
    kit.sweep()
    assert kit.pace is None
    assert len(kit.rates) == 0


async def test_a_pause_that_is_over_is_taken_back_without_any_attempt() -> None:
    kit = Kit(TEN)
    await kit.run(*(limited(each, 1_000, retry_after_seconds=7.0) for each in range(3)))
    assert kit.pace is not None
    assert kit.pace.until == moment(1_007)
    kit.clock.now += 7
    kit.sweep()
    assert kit.pace.until is None


async def storm(kit: Kit, *, successes: int, seconds: int = 30) -> list[str]:
    """Ten attempts a second, some of them well; the states of the breaker meanwhile."""
    states: list[str] = []
    for step in range(seconds * 10):
        kit.clock.now = 1_000 + step / 10
        code = None if step % 10 < successes else LIMIT
        cuts = kit.pace.cuts if kit.pace else 0
        await kit.run(attempt(f"v{step}", code, at=kit.clock.now, seconds=0.05, cuts=cuts))
        states.append(kit.state.state if kit.state else "closed")
    return states


async def test_429_is_left_to_the_rate_while_that_helps() -> None:
    kit = Kit(LimitSettings(default_requests_per_second=1_000))
    assert set(await storm(kit, successes=2, seconds=5)) == {"closed"}
    assert kit.pace is not None
    assert (kit.pace.requests_per_second or 1_000) <= 30


async def test_429_opens_the_breaker_when_nothing_succeeds() -> None:
    kit = Kit(LimitSettings(default_requests_per_second=1_000))
    states = await storm(kit, successes=0, seconds=10)
    assert "open" in states
    assert states.index("open") < 60


async def test_429_opens_the_breaker_when_the_rate_is_at_its_floor() -> None:
    assert "open" in await storm(Kit(TEN), successes=2)


async def test_what_else_fails_opens_the_breaker_as_ever() -> None:
    kit = Kit(TEN)
    for step in range(20):
        kit.clock.now = 1_000 + step / 10
        await kit.run(attempt(f"v{step}", SERVER, at=kit.clock.now, seconds=0.05))
    assert kit.state is not None
    assert kit.state.state == "open"


async def test_an_open_breaker_leaves_the_rate_alone() -> None:
    kit = Kit(TEN)
    await kit.run(ordered("open"))
    await kit.run(*(limited(each, 1_000) for each in range(5)))
    assert kit.pace is None


async def test_cuts_and_the_way_back_are_logged_once_each(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        kit = await cut()
        for step in range(1, 400):
            kit.clock.now = 1_001 + step
            await kit.run(attempt(f"v{step}", at=kit.clock.now, seconds=0.1))
    assert [line.getMessage() for line in caplog.records] == [
        "tiktok:extract:a slows down from 10 to 5 requests a second: rate_limit.api",
        "tiktok:extract:a is back to 10 requests a second",
    ]
