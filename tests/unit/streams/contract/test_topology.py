"""Documented topology, compared with the records that the stages read and write."""

from collections.abc import Callable
from typing import Any, get_args

import pytest

from agents.access import attempts
from agents.access.accounts import AccountStates
from agents.access.attempts import PlannedAttempt
from agents.accounts.interface import AccountStatus
from agents.commands.agent import CommandContext
from agents.extraction.engine import STATE_KIND
from agents.ledger import batches
from agents.monitor import breakers, rates, write_behind
from agents.pipeline import events
from agents.pipeline.worker_states import CACHES_KIND, WorkerStates
from agents.recovery.media_hosts import wait_record
from schemas.audit import Transition
from schemas.codec import decode, encode
from schemas.contract import examples
from schemas.contract.json_schema import (
    ACCOUNT_STATE,
    ATTEMPT,
    AUDIT_RECORD,
    BREAKER_STATE,
    CACHE_STATE,
    CANCEL_SIGNAL,
    COMMAND,
    DEAD_LETTER_STATUS,
    ENGINE_STATE,
    EXTRACTED_VIDEO,
    FAILURE,
    HEARTBEAT,
    INTAKE_SIGNAL,
    MEDIA_HOST_WAIT,
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
from schemas.errors import Endpoint
from schemas.results import BatchFinished, Result
from schemas.signals import BreakerState, RateState
from streams.contract.topology import EXTERNAL_PARTIES, KINDS, MESSAGES_ON, Party, all_parties
from streams.deadletters.replay import mark_record
from streams.envelope import TYPE_PREFIX
from streams.records import Outgoing
from streams.runtime.heartbeats import heartbeat
from streams.stage import Stage, load_stages, own_topics
from streams.topics import ATTEMPTS, DEADLETTERS, DELAYS, HEARTBEATS, SIGNALS, TOPICS, Topic
from tests.unit.streams.deadletters.builders import stored_dead_letter

JOB = examples.VALIDATED_VIDEO.job
PARTIES = all_parties(load_stages())


def result(status: str) -> Result:
    for each in examples.RESULTS:
        if not isinstance(each, BatchFinished) and each.__struct_config__.tag == status:
            return each
    raise AssertionError(status)


def result_record(status: str) -> Outgoing:
    outcome = result(status)
    return events.publish_result(
        outcome.request_id, status, encode(outcome), outcome.trace_id, "cause", reply=None
    )


ENDPOINT = Endpoint(platform="tiktok", operation="extract", egress="direct")
PLANNED = PlannedAttempt(JOB, examples.VALIDATED_VIDEO.video.key, ENDPOINT, "extraction")
NOW = JOB.received_at


def command_record(topic: Topic, message: object, kind: str) -> Outgoing:
    """Return a record that the commands stage writes to apply a command."""
    context = CommandContext(cause="1", trace_id=JOB.trace_id, at=NOW)
    return context.send(topic, "key", message, kind)


def signal_record(state: BreakerState | RateState, event: str) -> Outgoing:
    """Return a record of shared state that the monitor writes."""
    return write_behind.signal(state.name, encode(state), event, "monitor", "1")


def account_record() -> Outgoing:
    """Return the record of an account that the extraction stage writes."""
    main = AccountStatus(platform="tiktok", account="main", healthy=True)
    (record,) = AccountStates().update([main], NOW.timestamp())
    return record


def cache_record() -> Outgoing:
    """Return the record of the caches that a stage writes."""
    states = WorkerStates("cache/extraction/box", CACHES_KIND, "extraction")
    (record,) = states.update(lambda _: examples.CACHE_STATE, NOW)
    return record


def engine_record() -> Outgoing:
    """Return the record of the engine that the extraction stage writes."""
    states = WorkerStates("engine/box", STATE_KIND, "extraction")
    (record,) = states.update(lambda _: examples.ENGINE_STATE, NOW)
    return record


RECORDS: list[tuple[Message, Callable[[], Any]]] = [
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
        (RESULT, lambda each=each: result_record(each.__struct_config__.tag))
        for each in get_args(Result)
    ),
    (RESULT, lambda: batches.publish_summary(examples.BATCH_FINISHED, "ledger", "1")),
    (ATTEMPT, lambda: attempts.attempt_record(PLANNED, None, 1.0, NOW)),
    (ATTEMPT, lambda: attempts.trial_record(PLANNED, NOW)),
    (ATTEMPT, lambda: command_record(ATTEMPTS, examples.ATTEMPTS[-1], "breaker.ordered")),
    (BREAKER_STATE, lambda: signal_record(examples.BREAKER_STATES[0], breakers.EVENT)),
    (RATE_STATE, lambda: signal_record(examples.RATE_STATES[0], rates.EVENT)),
    (ACCOUNT_STATE, account_record),
    (CACHE_STATE, cache_record),
    (ENGINE_STATE, engine_record),
    (MEDIA_HOST_WAIT, lambda: wait_record(examples.MEDIA_HOST_WAIT)),
    (CANCEL_SIGNAL, lambda: command_record(SIGNALS, examples.CANCEL_SIGNAL, "cancel")),
    (REFRESH_SIGNAL, lambda: command_record(SIGNALS, examples.REFRESH_SIGNAL, "refresh")),
    (INTAKE_SIGNAL, lambda: command_record(SIGNALS, examples.INTAKE_SIGNAL, "intake")),
    (DEAD_LETTER_STATUS, lambda: mark_record(stored_dead_letter(), examples.DEAD_LETTER_STATUS)),
    (HEARTBEAT, lambda: heartbeat(0, NOW, "monitor")),
]


def test_parties_are_the_external_ones_and_the_stages_in_the_order_of_their_sources() -> None:
    external, stages = PARTIES[: len(EXTERNAL_PARTIES)], PARTIES[len(EXTERNAL_PARTIES) :]
    assert external == EXTERNAL_PARTIES
    assert {party.name for party in stages} == {stage.name for stage in load_stages()}
    sources = [TOPICS.index(party.reads[0]) for party in stages]
    assert sources == sorted(sources)


def test_stage_outside_the_registry_is_a_party_after_all_others() -> None:
    own = Topic("covers", "video key", "Covers of videos.")
    stage = Stage(
        "cover", (own,), open=lambda _: NotImplemented, on_bug=lambda *_: (), writes=(own,)
    )
    *_, last = all_parties([stage, *load_stages()])
    assert last == Party("cover", stage.purpose, (own, HEARTBEATS), (own, DEADLETTERS, SIGNALS))


@pytest.mark.parametrize(("message", "write"), RECORDS, ids=[each.name for each, _ in RECORDS])
def test_records_have_the_documented_topic_and_type(
    message: Message, write: Callable[[], Outgoing]
) -> None:
    record = write()
    assert message in MESSAGES_ON[record.topic]
    kind = dict(record.headers)["ce_type"].decode()
    assert kind in {TYPE_PREFIX + each for each in KINDS[message.name]}
    assert record.value is not None
    decode(record.value, message.kind)


def test_every_documented_type_is_written_by_a_record() -> None:
    written = {dict(write().headers)["ce_type"].decode() for _, write in RECORDS}
    assert written == {TYPE_PREFIX + kind for kinds in KINDS.values() for kind in kinds}


def test_every_delay_topic_carries_every_event() -> None:
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


def test_every_written_topic_is_read() -> None:
    read = {topic for party in PARTIES for topic in party.reads}
    written = {topic for party in PARTIES for topic in party.writes}
    own = own_topics(load_stages())  # read by clients, or by their stage
    assert written - {*own} == read - {*own}


def test_every_topic_is_used() -> None:
    assert {topic for party in PARTIES for topic in party.reads} >= set(TOPICS)


@pytest.mark.parametrize("party", PARTIES, ids=lambda party: party.name)
def test_party_lists_each_topic_once(party: Any) -> None:
    assert len(set(party.reads)) == len(party.reads)
    assert len(set(party.writes)) == len(party.writes)
