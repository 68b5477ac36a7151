import msgspec
import pytest

from agents.delay import IN_FLIGHT_PER_TOPIC, MAX_DELAY_SECONDS, due_at, handle, on_bug
from agents.delay import stage as delay_stage
from agents.pipeline.events import DUE, TARGET, delay_headers
from streams.claims import Claim, TopicPath, priority_header
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

DELAY_TOPIC = next(iter(DELAYS))
OTHER_HEADERS = (("ce_id", b"e"), ("ce_correlationid", b"r1"), ("x", b"\xff"))


def delayed_record(
    due: bytes | None = None, target: bytes | None = b"videos.validated"
) -> Incoming:
    due = f"{WRITTEN}".encode() if due is None else due
    headers = [*OTHER_HEADERS[:1], (DUE, due), *OTHER_HEADERS[1:]]
    headers += [] if target is None else [(TARGET, target)]
    return make_record(b"body", topic=DELAY_TOPIC, headers=headers)


async def forwarded(record: Incoming) -> Outgoing:
    """Return the forwarded record without its traceparent, which is a new one."""
    (effect,) = await handle(record)
    assert isinstance(effect, Outgoing)
    *others, (name, _) = effect.headers
    assert name == "traceparent"
    return msgspec.structs.replace(effect, headers=tuple(others))


async def test_event_is_forwarded_without_its_delay_headers() -> None:
    assert due_at(delayed_record(), WRITTEN) == WRITTEN
    assert await forwarded(delayed_record()) == Outgoing(VALIDATED, b"k", b"body", OTHER_HEADERS)


@pytest.mark.parametrize("target", TOPICS, ids=lambda topic: topic.name)
async def test_event_is_forwarded_to_its_target_topic(target: Topic) -> None:
    headers = delay_headers(WRITTEN_AT, target)
    record = make_record(b"body", topic=DELAY_TOPIC, headers=headers)
    assert await forwarded(record) == Outgoing(target, b"k", b"body", ())


async def test_tombstone_and_missing_key_are_preserved() -> None:
    record = make_record(
        None, topic=DELAY_TOPIC, key=None, headers=delay_headers(WRITTEN_AT, EXTRACTED)
    )
    assert await forwarded(record) == Outgoing(EXTRACTED, None, None, ())


def test_due_times_are_exact_to_the_millisecond() -> None:
    due = WRITTEN_AT.replace(microsecond=123_456)
    assert delay_headers(due, VALIDATED)[0] == (DUE, f"{WRITTEN + 0.123:.3f}".encode())


@pytest.mark.parametrize("wait", [-1e9, 0.0, 5.0])
def test_due_time_comes_from_the_header(wait: float) -> None:
    assert due_at(delayed_record(due=f"{WRITTEN + wait}".encode()), WRITTEN) == WRITTEN + wait


def test_last_delay_topic_delays_up_to_its_retention() -> None:
    *_, last = DELAYS
    due = WRITTEN + MAX_DELAY_SECONDS
    record = make_record(
        b"body", topic=last, headers=((DUE, f"{due}".encode()), (TARGET, b"videos.validated"))
    )
    assert due_at(record, WRITTEN) == due


@pytest.mark.parametrize("lag", [600.0, 3_000.0, 7_200.0])
def test_slow_clock_does_not_lengthen_the_wait(lag: float) -> None:
    now = WRITTEN - lag
    assert due_at(delayed_record(due=f"{WRITTEN + 3}".encode()), now) == now + 3


def test_due_time_of_a_fast_clock_is_capped_by_the_delay_of_the_topic() -> None:
    # With timestamps of the broker, its clock differs from that of the due time.
    assert due_at(delayed_record(due=f"{WRITTEN + 600}".encode()), WRITTEN) == WRITTEN + 5


INVALID = {
    "no target": delayed_record(target=None),
    "unknown target": delayed_record(target=b"nowhere"),
    "target of invalid UTF-8": delayed_record(target=b"\xff"),
    "no due": delayed_record(due=b""),
    "due that is not a number": delayed_record(due=b"soon"),
    "due of invalid UTF-8": delayed_record(due=b"\xff"),
    "infinite due": delayed_record(due=b"inf"),
    "NaN due": delayed_record(due=b"nan"),
    "due after the retention": delayed_record(due=f"{WRITTEN + MAX_DELAY_SECONDS + 1}".encode()),
    "due in the far future": delayed_record(due=b"1e300"),
    "no headers": make_record(b"body", topic=DELAY_TOPIC, headers=[("ce_correlationid", b"r1")]),
}


@pytest.mark.parametrize("name", INVALID)
async def test_record_with_invalid_delay_headers_ends_its_request(name: str) -> None:
    record = INVALID[name]
    assert due_at(record, WRITTEN) is None, "an invalid due time must not delay the record"
    effects = await handle(record)
    (dead_letter,) = dead_letters(effects)
    assert (dead_letter.key, dead_letter.value) == (record.key, record.value)
    assert dead_letter.headers[: len(record.headers)] == record.headers
    assert header(dead_letter, "clipmill_step") == "delay"
    assert outcome(effects).request_id == "r1"
    written = {effect.topic for effect in effects if isinstance(effect, Outgoing)}
    assert written <= set(delay_stage.produces), "a worker of delay alone has no other ACLs"


async def test_invalid_record_without_a_request_is_only_dead_lettered() -> None:
    effects = await handle(make_record(b"body", topic=DELAY_TOPIC))
    assert len(dead_letters(effects)) == len(effects) == 1


async def test_outcome_of_an_invalid_record_has_the_fields_of_its_job() -> None:
    job_record = event_record(validated(attributes={"a": "b"}))
    assert outcome(await handle(job_record)).attributes == {"a": "b"}


def test_bug_ends_the_request_and_is_dead_lettered() -> None:
    effects = on_bug(delayed_record(), RuntimeError("oops"))
    assert len(dead_letters(effects)) == len(outcomes(effects)) == 1


async def test_stage_consumes_every_delay_topic_with_a_large_window() -> None:
    settings = make_settings()
    assert delay_stage.sources == tuple(DELAYS)
    assert delay_stage.window(settings) == IN_FLIGHT_PER_TOPIC
    assert delay_stage.due is due_at
    assert not delay_stage.ordered
    assert not delay_stage.drains
    context, _ = make_context(settings)
    async with opened_stage(delay_stage, context) as handler:
        assert len(await handler(delayed_record())) == 1


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (VALIDATED, (VALIDATED,)),
        (EXTRACTED, (EXTRACTED,)),
        (SELECTED, (SELECTED,)),
        (REQUESTS, ()),
    ],
)
def test_due_event_claims_its_target_topic_and_precedes_new_ones(
    target: Topic, path: TopicPath
) -> None:
    headers = (*delay_headers(WRITTEN_AT, target), priority_header(3), ("ce_correlationid", b"b/1"))
    found = delay_stage.claim(make_record(b"{}", headers=headers))
    assert found == Claim(rank_of(3, in_batch=True) + RETRY_BONUS, path, request="b/1")


def test_record_without_a_target_claims_no_topic() -> None:
    assert delay_stage.claim(make_record(b"{}")).path == ()
