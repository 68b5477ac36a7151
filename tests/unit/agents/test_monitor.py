import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from prometheus_client import Gauge

from agents.breaker_news import describe, signal_key
from agents.live_breakers import REPEAT_SECONDS
from agents.monitor import IDLE_SECONDS, NAME, SWEEP_SECONDS, TABLE, Monitor, on_bug, rules_of
from agents.monitor import stage as monitor_stage
from agents.resilience.breaker import Breaker
from schemas.attempts import AttemptRecord
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from schemas.signals import BREAKER, BreakerState
from streams.metrics import ATTEMPT_ERRORS, BREAKER_STATE, BREAKER_TRANSITIONS
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.settings import BreakerSettings
from streams.signals import Signals
from streams.tables import StageTable
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
    sent_to,
    show,
    writes,
)
from tests.unit.resilience.calls import BLOCK, GONE, SERVER, asked, attempt, moment, ordered

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


class Kit:
    """A monitor with its table and the signals; what is written is seen at once."""

    def __init__(self, table: StageTable | None = None, signals: Signals | None = None) -> None:
        self.table = table or make_table(TABLE)
        self.signals = signals or Signals()
        self.clock = Clock()
        self.monitor = self.process()

    def process(self) -> Monitor:
        """A process that has just started."""
        return Monitor(self.table.get, self.signals.get, RULES, self.clock)

    async def run(self, *messages: AttemptRecord) -> list[Effect]:
        """Handle messages; what came of the last one."""
        effects: list[Effect] = []
        for message in messages:
            effects = list(await self.monitor.handle(arriving(message)))
            self.written(effects)
        return effects

    def sweep(self) -> list[Effect]:
        effects = list(self.monitor.sweep(dict(self.table.items())))
        self.written(effects)
        return effects

    def written(self, effects: Sequence[Effect]) -> None:
        show(self.table, effects)
        for sent in sent_to(effects, SIGNALS):
            self.signals.put((sent.key or b"").decode(), sent.value)

    @property
    def state(self) -> BreakerState | None:
        value = self.signals.get(KEY)
        return None if value is None else decode(value, BreakerState)

    @property
    def row(self) -> Breaker:
        return decode(self.table.get(BREAKER_NAME) or b"", Breaker)


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
    (row,) = writes(effects)
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
    assert len(writes(await kit.run(attempt(1)))) == 1
    kit.clock.now += 0.9
    assert writes(await kit.run(attempt(2))) == []
    kit.clock.now += 0.1
    assert len(writes(await kit.run(attempt(3)))) == 1
    assert len(kit.row.window) == 3


async def test_the_sweep_writes_what_is_behind_once() -> None:
    kit = Kit()
    await kit.run(attempt(1), attempt(2))
    assert len(kit.row.window) == 1
    assert len(writes(kit.sweep())) == 1
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
    late = kit.monitor.sweep(dict(kit.table.items()))
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
    (gone,) = writes(kit.sweep())
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
    assert [(each.key, each.value) for each in writes(effects)] == [(BREAKER_NAME, None)]
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
    context, _ = make_context(make_settings(), TABLE)
    assert (monitor_stage.name, monitor_stage.sources) == (NAME, (ATTEMPTS,))
    assert monitor_stage.ordered
    async with monitor_stage.open(context) as handle:
        for message in blocked(at=1_700_000_000_000 / 1_000):
            effects = list(await handle(arriving(message)))
            show(context.tables[TABLE], effects)
        ((seconds, sweep),) = context.sweeps
        assert seconds == SWEEP_SECONDS
        assert len(writes(effects) + writes(sweep())) >= 1


def test_the_rules_are_the_settings() -> None:
    settings = BreakerSettings(trials=7, open_seconds=3)
    assert msgspec.structs.asdict(rules_of(settings)) == settings.model_dump()


def test_the_signal_has_the_key_that_workers_read() -> None:
    assert signal_key(attempt().name) == KEY
