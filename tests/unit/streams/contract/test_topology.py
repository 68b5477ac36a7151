"""The contract as it is written down, against what the stages and their letters really do."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from agents.access import attempts
from agents.access.attempts import Attempting
from agents.commands.agent import Order
from agents.ledger import batch_records
from agents.monitor import breakers, rates, state_store
from agents.pipeline import events
from schemas.audit import Transition
from schemas.codec import decode, encode
from schemas.contract import examples
from schemas.contract.json_schema import (
    ATTEMPT,
    AUDIT_RECORD,
    BREAKER_STATE,
    CANCEL_SIGNAL,
    COMMAND,
    EXTRACTED_VIDEO,
    FAILURE,
    HEARTBEAT,
    INTAKE_SIGNAL,
    LETTER_MARK,
    MESSAGES,
    PENDING_LINK,
    PROGRESS,
    RATE_STATE,
    REFRESH_SIGNAL,
    REQUEST,
    RESULT,
    SELECTED_VIDEO,
    VALIDATED_LISTING,
    VALIDATED_VIDEO,
    Message,
)
from schemas.errors import Place
from schemas.results import BatchFinished, Result
from schemas.signals import BreakerState, RateState
from streams.contract.topology import KINDS, MESSAGES_ON, PARTIES
from streams.deadletters.replay import mark_record
from streams.envelope import TYPE_PREFIX
from streams.records import Outgoing
from streams.runtime.heartbeats import heartbeat
from streams.stage import load_stages
from streams.topics import ATTEMPTS, DELAYS, SIGNALS, TOPICS, Topic
from tests.unit.streams.deadletters.letters import make_letter

JOB = examples.VALIDATED_VIDEO.job
BY_NAME = {party.name: party for party in PARTIES}


def result(status: str) -> Result:
    for each in examples.RESULTS:
        if not isinstance(each, BatchFinished) and each.__struct_config__.tag == status:
            return each
    raise AssertionError(status)


def published(status: str) -> Outgoing:
    outcome = result(status)
    return events.publish_result(
        outcome.request_id, status, encode(outcome), outcome.trace_id, "cause", reply=None
    )


PLACE = Place(platform="tiktok", operation="extract", egress="direct")
ATTEMPTING = Attempting(job=JOB, subject=examples.VALIDATED_VIDEO.video.key, place=PLACE)
NOW = JOB.received_at


def ordered(topic: Topic, message: object, kind: str) -> Outgoing:
    """What the commands stage writes to carry out an order."""
    order = Order(cause="1", trace_id=JOB.trace_id, at=NOW)
    return order.send(topic, "key", message, kind)


def told(state: BreakerState | RateState, event: str) -> Outgoing:
    """What the monitor writes for all workers."""
    return state_store.signal(state.name, encode(state), event, "monitor", "1")


LETTERS: list[tuple[Message, Callable[[], Any]]] = [
    (PENDING_LINK, lambda: events.send_event(examples.PENDING_LINK, "recovery", None)),
    (VALIDATED_VIDEO, lambda: events.send_event(examples.VALIDATED_VIDEO, "validation", "1")),
    (
        VALIDATED_LISTING,
        lambda: events.send_event(examples.VALIDATED_LISTING, "validation", "1"),
    ),
    (EXTRACTED_VIDEO, lambda: events.send_event(examples.EXTRACTED_VIDEO, "extraction", "1")),
    (SELECTED_VIDEO, lambda: events.send_event(examples.SELECTED_VIDEO, "selection", "1")),
    (FAILURE, lambda: events.publish_failure(examples.FAILURE, "key", "1")),
    (PROGRESS, lambda: events.report_progress(examples.PROGRESS, JOB, "download")),
    *(
        (AUDIT_RECORD, lambda each=each: events.audit(JOB, "extraction", each, None))
        for each in get_args(Transition)
    ),
    *(
        (RESULT, lambda each=each: published(each.__struct_config__.tag))
        for each in get_args(Result)
    ),
    (RESULT, lambda: batch_records.publish_summary(examples.BATCH_FINISHED, "ledger", "1")),
    (ATTEMPT, lambda: attempts.attempt_record(ATTEMPTING, None, 1.0, NOW)),
    (ATTEMPT, lambda: attempts.trial_record(ATTEMPTING, NOW)),
    (ATTEMPT, lambda: ordered(ATTEMPTS, examples.ATTEMPTS[-1], "breaker.ordered")),
    (BREAKER_STATE, lambda: told(examples.BREAKER_STATES[0], breakers.EVENT)),
    (RATE_STATE, lambda: told(examples.RATE_STATES[0], rates.EVENT)),
    (CANCEL_SIGNAL, lambda: ordered(SIGNALS, examples.CANCEL_SIGNAL, "cancel")),
    (REFRESH_SIGNAL, lambda: ordered(SIGNALS, examples.REFRESH_SIGNAL, "refresh")),
    (INTAKE_SIGNAL, lambda: ordered(SIGNALS, examples.INTAKE_SIGNAL, "intake")),
    (LETTER_MARK, lambda: mark_record(make_letter(), examples.LETTER_MARK)),
    (HEARTBEAT, lambda: heartbeat(0, NOW, "monitor")),
]


PEOPLE = {"client", "operator"}


def test_stages_read_what_is_written_down() -> None:
    written = {name: set(party.reads) for name, party in BY_NAME.items() if name not in PEOPLE}
    assert written == {stage.name: set(stage.reads) for stage in load_stages()}


@pytest.mark.parametrize(("message", "write"), LETTERS, ids=[each.name for each, _ in LETTERS])
def test_letters_have_the_topic_and_type_that_are_written_down(
    message: Message, write: Callable[[], Outgoing]
) -> None:
    letter = write()
    assert message in MESSAGES_ON[letter.topic]
    kind = dict(letter.headers)["ce_type"].decode()
    assert kind in {TYPE_PREFIX + each for each in KINDS[message.name]}
    assert letter.value is not None
    decode(letter.value, message.kind)


def test_every_type_is_written_by_some_letter() -> None:
    written = {dict(write().headers)["ce_type"].decode() for _, write in LETTERS}
    assert written == {TYPE_PREFIX + kind for kinds in KINDS.values() for kind in kinds}


def test_every_event_may_wait_on_every_delay_topic() -> None:
    messages = (
        PENDING_LINK,
        VALIDATED_VIDEO,
        VALIDATED_LISTING,
        EXTRACTED_VIDEO,
        SELECTED_VIDEO,
    )
    kinds = {message.kind for message in messages}
    assert kinds == set(events.EVENT_TOPICS)
    for topic in DELAYS:
        assert {message.kind for message in MESSAGES_ON[topic]} == kinds


def test_every_message_has_a_topic() -> None:
    used = {message.name for messages in MESSAGES_ON.values() for message in messages}
    assert used == {message.name for message in MESSAGES}
    assert KINDS.keys() == used - {REQUEST.name, COMMAND.name}


def test_what_is_written_is_read_by_somebody() -> None:
    read = {topic for party in PARTIES for topic in party.reads}
    written = {topic for party in PARTIES for topic in party.writes}
    assert written == read


def test_every_topic_is_used() -> None:
    assert {topic for party in PARTIES for topic in party.reads} == set(TOPICS)


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.name)
def test_nobody_names_a_topic_twice(party: Any) -> None:
    assert len(set(party.reads)) == len(party.reads)
    assert len(set(party.writes)) == len(party.writes)
