from collections.abc import Callable

import pytest

from agents.delay import (
    DUE,
    HELD_PER_TOPIC,
    LONGEST_WAIT_SECONDS,
    TARGET,
    Delay,
    delay_headers,
    on_bug,
)
from agents.delay import stage as delay_stage
from streams.records import Effect, Incoming, Outgoing
from streams.topics import DELAYS, EXTRACTED, TOPICS, VALIDATED, Topic
from tests.unit.agents.builders import (
    WRITTEN,
    WRITTEN_AT,
    Clock,
    dead_letters,
    event_record,
    header,
    make_context,
    make_record,
    make_settings,
    outcome,
    outcomes,
    validated,
)

WAITING = next(iter(DELAYS))
OTHERS = (("ce_id", b"e"), ("ce_correlationid", b"r1"), ("x", b"\xff"))


class Sleeper:
    """Sleeps by moving the clock; ``wakes`` tells how long it really sleeps."""

    def __init__(self, clock: Clock, wakes: Callable[[float], float] = lambda wait: wait) -> None:
        self.clock = clock
        self.wakes = wakes
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += self.wakes(seconds)


def waiting(due: bytes | None = None, target: bytes | None = b"videos.validated") -> Incoming:
    due = f"{WRITTEN}".encode() if due is None else due
    headers = [*OTHERS[:1], (DUE, due), *OTHERS[1:]]
    headers += [] if target is None else [(TARGET, target)]
    return make_record(b"body", topic=WAITING, headers=headers)


async def run(record: Incoming, clock: Clock, sleeper: Sleeper | None = None) -> list[Effect]:
    return list(await Delay(clock, sleeper or Sleeper(clock)).handle(record))


@pytest.mark.parametrize("late", [0.0, 1.0, 1e9])
async def test_what_is_due_goes_on_at_once(late: float) -> None:
    clock = Clock(WRITTEN + late)
    sleeper = Sleeper(clock)
    assert await run(waiting(), clock, sleeper) == [Outgoing(VALIDATED, b"k", b"body", OTHERS)]
    assert sleeper.slept == []


async def test_what_is_not_due_waits() -> None:
    clock = Clock(WRITTEN - 30)
    sleeper = Sleeper(clock)
    assert await run(waiting(), clock, sleeper) == [Outgoing(VALIDATED, b"k", b"body", OTHERS)]
    assert sleeper.slept == [30.0]


async def test_waking_up_early_is_no_reason_to_go() -> None:
    clock = Clock(WRITTEN - 8)
    sleeper = Sleeper(clock, lambda wait: wait / 2 if wait > 1 else wait)
    await run(waiting(), clock, sleeper)
    assert clock.now == WRITTEN
    assert sleeper.slept == [8.0, 4.0, 2.0, 1.0]


@pytest.mark.parametrize("target", TOPICS, ids=lambda topic: topic.name)
async def test_the_event_goes_where_it_is_to_go(target: Topic) -> None:
    headers = delay_headers(WRITTEN_AT, target)
    record = make_record(b"body", topic=WAITING, headers=headers)
    assert await run(record, Clock(WRITTEN)) == [Outgoing(target, b"k", b"body", ())]


async def test_a_tombstone_and_a_missing_key_stay_what_they_are() -> None:
    record = make_record(
        None, topic=WAITING, key=None, headers=delay_headers(WRITTEN_AT, EXTRACTED)
    )
    assert await run(record, Clock(WRITTEN)) == [Outgoing(EXTRACTED, None, None, ())]


def test_due_times_are_exact_to_the_millisecond() -> None:
    due = WRITTEN_AT.replace(microsecond=123_456)
    assert delay_headers(due, VALIDATED)[0] == (DUE, f"{WRITTEN + 0.123:.3f}".encode())


BROKEN = {
    "no target": waiting(target=None),
    "unknown target": waiting(target=b"nowhere"),
    "target that is no text": waiting(target=b"\xff"),
    "no due": waiting(due=b""),
    "due that is no number": waiting(due=b"soon"),
    "due that is no text": waiting(due=b"\xff"),
    "due never": waiting(due=b"inf"),
    "due nowhere": waiting(due=b"nan"),
    "due after the record is gone": waiting(due=f"{WRITTEN + LONGEST_WAIT_SECONDS + 1}".encode()),
    "due in another age": waiting(due=b"1e300"),
    "no headers": make_record(b"body", topic=WAITING, headers=[("ce_correlationid", b"r1")]),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_says_not_where_to_and_when_ends(name: str) -> None:
    record = BROKEN[name]
    clock = Clock(WRITTEN)
    sleeper = Sleeper(clock)
    effects = await run(record, clock, sleeper)
    (kept,) = dead_letters(effects)
    assert (kept.key, kept.value) == (record.key, record.value)
    assert kept.headers[: len(record.headers)] == record.headers
    assert header(kept, "clipmill_step") == "delay"
    assert outcome(effects).request_id == "r1"
    assert sleeper.slept == []


async def test_what_belongs_to_nobody_is_a_dead_letter_only() -> None:
    effects = await run(make_record(b"body", topic=WAITING), Clock())
    assert len(dead_letters(effects)) == len(effects) == 1


async def test_the_outcome_of_a_lost_event_tells_whose_it_was() -> None:
    job_record = event_record(validated(attributes={"a": "b"}))
    assert outcome(await run(job_record, Clock())).attributes == {"a": "b"}


def test_a_bug_ends_the_request_and_is_kept() -> None:
    effects = on_bug(waiting(), RuntimeError("oops"))
    assert len(dead_letters(effects)) == len(outcomes(effects)) == 1


async def test_the_stage_reads_every_delay_topic_and_holds_many() -> None:
    settings = make_settings()
    assert delay_stage.sources == tuple(DELAYS)
    assert delay_stage.window(settings) == HELD_PER_TOPIC
    assert delay_stage.concurrency(settings) >= HELD_PER_TOPIC * len(DELAYS)
    assert not delay_stage.ordered
    assert not delay_stage.drains
    context, _ = make_context(settings)
    async with delay_stage.open(context) as handle:
        assert len(await handle(waiting())) == 1
