from dataclasses import replace

import pytest

from agents.delay import IN_FLIGHT_PER_TOPIC, MAX_DELAY_SECONDS, due_at, handle, on_bug
from agents.delay import stage as delay_stage
from agents.pipeline.events import DUE, TARGET, delay_headers
from streams.claims import Claim, Path, priority_header
from streams.priority_queue import rank_of
from streams.records import Incoming, Outgoing
from streams.runtime.back_pressure import RETRY_BONUS
from streams.topics import DELAYS, EXTRACTED, REQUESTS, SELECTED, TOPICS, VALIDATED, Topic
from tests.unit.agents.builders import (
    WRITTEN,
    WRITTEN_AT,
    dead_letters,
    event_record,
    header,
    make_context,
    make_record,
    make_settings,
    opened_stage,
    outcome,
    outcomes,
    validated,
)

WAITING = next(iter(DELAYS))
OTHERS = (("ce_id", b"e"), ("ce_correlationid", b"r1"), ("x", b"\xff"))


def waiting(due: bytes | None = None, target: bytes | None = b"videos.validated") -> Incoming:
    due = f"{WRITTEN}".encode() if due is None else due
    headers = [*OTHERS[:1], (DUE, due), *OTHERS[1:]]
    headers += [] if target is None else [(TARGET, target)]
    return make_record(b"body", topic=WAITING, headers=headers)


async def passed_on(record: Incoming) -> Outgoing:
    """What becomes of a record, without its position in its trace, which is a new one."""
    (effect,) = await handle(record)
    assert isinstance(effect, Outgoing)
    *others, (name, _) = effect.headers
    assert name == "traceparent"
    return replace(effect, headers=tuple(others))


async def test_the_event_goes_on_without_the_headers_of_its_wait() -> None:
    assert due_at(waiting(), WRITTEN) == WRITTEN
    assert await passed_on(waiting()) == Outgoing(VALIDATED, b"k", b"body", OTHERS)


@pytest.mark.parametrize("target", TOPICS, ids=lambda topic: topic.name)
async def test_the_event_goes_where_it_is_to_go(target: Topic) -> None:
    headers = delay_headers(WRITTEN_AT, target)
    record = make_record(b"body", topic=WAITING, headers=headers)
    assert await passed_on(record) == Outgoing(target, b"k", b"body", ())


async def test_a_tombstone_and_a_missing_key_stay_what_they_are() -> None:
    record = make_record(
        None, topic=WAITING, key=None, headers=delay_headers(WRITTEN_AT, EXTRACTED)
    )
    assert await passed_on(record) == Outgoing(EXTRACTED, None, None, ())


def test_due_times_are_exact_to_the_millisecond() -> None:
    due = WRITTEN_AT.replace(microsecond=123_456)
    assert delay_headers(due, VALIDATED)[0] == (DUE, f"{WRITTEN + 0.123:.3f}".encode())


@pytest.mark.parametrize("wait", [-1e9, 0.0, 5.0])
def test_an_event_is_due_when_its_header_says(wait: float) -> None:
    assert due_at(waiting(due=f"{WRITTEN + wait}".encode()), WRITTEN) == WRITTEN + wait


def test_the_last_delay_topic_holds_as_long_as_its_records_survive() -> None:
    *_, last = DELAYS
    due = WRITTEN + MAX_DELAY_SECONDS
    record = make_record(
        b"body", topic=last, headers=((DUE, f"{due}".encode()), (TARGET, b"videos.validated"))
    )
    assert due_at(record, WRITTEN) == due


@pytest.mark.parametrize("behind", [600.0, 3_000.0, 7_200.0])
def test_a_clock_that_is_behind_makes_no_wait_longer(behind: float) -> None:
    now = WRITTEN - behind
    assert due_at(waiting(due=f"{WRITTEN + 3}".encode()), now) == now + 3


def test_a_due_time_of_a_clock_that_is_ahead_waits_as_long_as_its_topic_is_for() -> None:
    # A broker that stamps records itself has another clock than who wrote the due time.
    assert due_at(waiting(due=f"{WRITTEN + 600}".encode()), WRITTEN) == WRITTEN + 5


BROKEN = {
    "no target": waiting(target=None),
    "unknown target": waiting(target=b"nowhere"),
    "target that is no text": waiting(target=b"\xff"),
    "no due": waiting(due=b""),
    "due that is no number": waiting(due=b"soon"),
    "due that is no text": waiting(due=b"\xff"),
    "due never": waiting(due=b"inf"),
    "due nowhere": waiting(due=b"nan"),
    "due after the record is gone": waiting(due=f"{WRITTEN + MAX_DELAY_SECONDS + 1}".encode()),
    "due in another age": waiting(due=b"1e300"),
    "no headers": make_record(b"body", topic=WAITING, headers=[("ce_correlationid", b"r1")]),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_what_says_not_where_to_and_when_ends(name: str) -> None:
    record = BROKEN[name]
    assert due_at(record, WRITTEN) is None, "it must not wait for what never comes"
    effects = await handle(record)
    (kept,) = dead_letters(effects)
    assert (kept.key, kept.value) == (record.key, record.value)
    assert kept.headers[: len(record.headers)] == record.headers
    assert header(kept, "clipmill_step") == "delay"
    assert outcome(effects).request_id == "r1"


async def test_what_belongs_to_nobody_is_a_dead_letter_only() -> None:
    effects = await handle(make_record(b"body", topic=WAITING))
    assert len(dead_letters(effects)) == len(effects) == 1


async def test_the_outcome_of_a_lost_event_tells_whose_it_was() -> None:
    job_record = event_record(validated(attributes={"a": "b"}))
    assert outcome(await handle(job_record)).attributes == {"a": "b"}


def test_a_bug_ends_the_request_and_is_kept() -> None:
    effects = on_bug(waiting(), RuntimeError("oops"))
    assert len(dead_letters(effects)) == len(outcomes(effects)) == 1


async def test_the_stage_reads_every_delay_topic_and_holds_many() -> None:
    settings = make_settings()
    assert delay_stage.sources == tuple(DELAYS)
    assert delay_stage.window(settings) == IN_FLIGHT_PER_TOPIC
    assert delay_stage.due is due_at
    assert not delay_stage.ordered
    assert not delay_stage.drains
    context, _ = make_context(settings)
    async with opened_stage(delay_stage, context) as handler:
        assert len(await handler(waiting())) == 1


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (VALIDATED, (VALIDATED,)),
        (EXTRACTED, (EXTRACTED,)),
        (SELECTED, (SELECTED,)),
        (REQUESTS, ()),
    ],
)
def test_what_is_due_needs_room_where_it_goes_and_goes_before_what_is_new(
    target: Topic, path: Path
) -> None:
    headers = (*delay_headers(WRITTEN_AT, target), priority_header(3), ("ce_correlationid", b"b/1"))
    found = delay_stage.claim(make_record(b"{}", headers=headers))
    assert found == Claim(rank_of(3, in_batch=True) + RETRY_BONUS, path, request="b/1")


def test_a_record_without_a_target_needs_no_room() -> None:
    assert delay_stage.claim(make_record(b"{}")).path == ()
