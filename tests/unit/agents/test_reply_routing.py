"""Reply routing: reply topic and correlation id, from the request to its result."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.engine.interface import EngineFailure
from agents.extraction.listings import member_of
from agents.ledger.bug_report import on_bug
from agents.ledger.events import introduce_batch
from agents.pipeline.events import audit, propose_result, user_command
from agents.pipeline.results import error_result
from agents.storage.local import LocalStorage
from agents.validation.requested_jobs import on_bug as validation_bug
from schemas.audit import AuditRecord
from schemas.codec import encode
from schemas.commands import Cancel, OptionChanges, Retry
from schemas.error_catalog import explain
from schemas.errors import ErrorCode
from schemas.job import Job
from schemas.listing import ListedPost
from schemas.request import CORRELATION_BYTES_MAX, Reply, Request
from schemas.results import Rejected
from streams.records import Header, Incoming, Outgoing
from streams.topics import AUDIT, REQUESTS, RESULTS
from tests.unit.agents.builders import (
    PAST,
    SHORT_URL,
    TRACE_ID,
    URL,
    WRITTEN_AT,
    as_incoming,
    body_of,
    make_job,
    make_record,
    only_record,
    request,
    sent_to,
)
from tests.unit.agents.ledger.test_batches import LedgerLogHarness, member
from tests.unit.agents.test_pipeline import Pipeline

ID = b"\x00\xff\xfe not text"
CORRELATED = ("kafka_correlationId", ID)
REPLY = Reply(topic="billing", correlation_id=ID)


@pytest.fixture
async def pipeline(tmp_path: Path) -> AsyncIterator[Pipeline]:
    async with LocalStorage.open(tmp_path) as storage:
        yield Pipeline(storage, tmp_path)


def routes(written: Sequence[Outgoing]) -> dict[str, tuple[str | None, list[bytes]]]:
    """Return the reply topic and correlation ids of each result, by request id."""
    return {
        (each.key or b"").decode(): (
            each.reply_to,
            [value for name, value in each.headers if name == "kafka_correlationId"],
        )
        for each in written
        if each.topic is RESULTS
    }


@pytest.mark.parametrize(
    ("body", "headers", "topic"),
    [
        ({"reply_to": "billing"}, [], "billing"),
        ({}, [("kafka_replyTopic", b"billing")], "billing"),
        ({"reply_to": "archive"}, [("kafka_replyTopic", b"billing")], "archive"),
        ({}, [], None),
    ],
)
async def test_result_is_routed_to_the_reply_topic_of_its_request(
    pipeline: Pipeline, body: dict[str, Any], headers: list[Header], topic: str | None
) -> None:
    await pipeline.run(request({"id": "r", "url": URL} | body, headers=[*headers, CORRELATED]))
    assert routes(pipeline.written) == {"r": (topic, [ID])}


async def test_request_without_a_reply_has_no_routing_headers(pipeline: Pipeline) -> None:
    await pipeline.run(request({"id": "r", "url": URL}))
    assert routes(pipeline.written) == {"r": (None, [])}


async def test_batch_members_and_summary_are_routed_to_the_reply_topic(pipeline: Pipeline) -> None:
    urls = [URL, SHORT_URL, 7, "https://example.com"]
    body = {"id": "b", "urls": urls, "reply_to": "billing"}
    await pipeline.run(request(body, headers=[CORRELATED]))
    names = ["b", *(f"b/{index}" for index in range(4))]
    assert routes(pipeline.written) == dict.fromkeys(names, ("billing", [ID]))


async def test_reply_survives_failures_retries_and_delays(pipeline: Pipeline) -> None:
    pipeline.tools.engine = [EngineFailure(types=("EngineTimeout",), message="late")] * 2
    body = {"id": "r", "url": URL, "reply_to": "billing"}
    await pipeline.run(request(body, headers=[CORRELATED]))
    assert routes(pipeline.written) == {"r": ("billing", [ID])}


REJECTED: dict[str, Incoming] = {
    "invalid request": request({"id": "r", "url": 1, "reply_to": "billing"}, headers=[CORRELATED]),
    "unknown field": request(
        {"id": "r", "url": URL, "reply_to": "billing", "x": 1}, headers=[CORRELATED]
    ),
    "undecodable": make_record(b"\xff", headers=[CORRELATED, ("kafka_replyTopic", b"billing")]),
    "no value": make_record(None, headers=[CORRELATED, ("kafka_replyTopic", b"billing")]),
    "expired": request(
        {"id": "r", "url": URL, "reply_to": "billing", "deadline": PAST.isoformat()},
        headers=[CORRELATED],
    ),
}


@pytest.mark.parametrize("name", REJECTED)
async def test_rejection_is_routed_by_the_recovered_reply(pipeline: Pipeline, name: str) -> None:
    await pipeline.run(REJECTED[name])
    (route,) = routes(pipeline.written).values()
    assert route == ("billing", [ID])


def test_bug_in_validation_is_routed_to_the_reply_topic() -> None:
    for record in (REJECTED["undecodable"], REJECTED["expired"]):
        for effect in sent_to(validation_bug(record, RuntimeError("x")), AUDIT):
            assert body_of(effect, AuditRecord).reply == REPLY


async def test_unconfigured_reply_topic_is_rejected(pipeline: Pipeline) -> None:
    body = {"id": "r", "url": URL, "reply_to": "secrets"}
    found = (await pipeline.run(request(body, headers=[CORRELATED])))["r"]
    assert isinstance(found, Rejected)
    details = found.error.technical_details
    assert details["field"] == "$.reply_to"
    assert details["reason"].startswith("'secrets' is not one of archive, billing")
    # The runner sends it to the results topic, as this one is not configured.
    assert routes(pipeline.written) == {"r": ("secrets", [ID])}


async def test_too_large_correlation_id_is_not_echoed(pipeline: Pipeline) -> None:
    large = b"x" * (CORRELATION_BYTES_MAX + 1)
    record = request({"id": "r", "url": URL}, headers=[("kafka_correlationId", large)])
    found = (await pipeline.run(record))["r"]
    assert isinstance(found, Rejected)
    assert found.error.technical_details["field"] == "header kafka_correlationId"
    assert routes(pipeline.written) == {"r": (None, [])}


def test_replays_and_listing_members_keep_the_reply() -> None:
    job = make_job(reply=REPLY)
    assert job.as_replay(1, WRITTEN_AT).reply == REPLY
    assert member_of(job, ListedPost(id="1", url=URL), 0, 1).reply == REPLY


# Results decided by the ledger

JOB = make_job(reply=REPLY)
ROUTE = ("billing", [ID])


def failed_proposal(job: Job, code: ErrorCode = ErrorCode.NETWORK_DNS) -> Outgoing:
    outcome = error_result(job, explain(code, operation="extraction", url=URL))
    return propose_result(job, "extraction", outcome, "cause")


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "expired"])
async def test_outcome_is_routed_even_after_its_row_expired(is_known: bool) -> None:
    ledger = LedgerLogHarness()
    if is_known:
        ledger.append(audit(JOB, "validation", "accepted", "cause"))
    ledger.append(failed_proposal(JOB))
    await ledger.run()
    assert routes(ledger.published) == {"r1": ROUTE}


@pytest.mark.parametrize("code", [ErrorCode.NETWORK_DNS, ErrorCode.REQUEST_INVALID])
async def test_outcome_without_a_reply_is_routed_by_the_ledger(code: ErrorCode) -> None:
    ledger = LedgerLogHarness()
    ledger.append(audit(JOB, "validation", "accepted", "cause"))
    ledger.append(failed_proposal(make_job(), code))
    await ledger.run()
    assert routes(ledger.published) == {"r1": ROUTE}
    again = ledger.ledger.handle(ledger.log[-1])
    assert routes(sent_to(again, RESULTS)) == {"r1": ROUTE}


async def test_cancellation_is_routed() -> None:
    ledger = LedgerLogHarness()
    ledger.append(audit(JOB, "validation", "accepted", "cause"))
    command = Cancel(id="c", request_id="r1")
    ledger.append(user_command(command, "commands", at=WRITTEN_AT, cause="c", trace_id=TRACE_ID))
    await ledger.run()
    assert routes(ledger.published) == {"r1": ROUTE}
    again = ledger.ledger.handle(ledger.log[-1])
    assert routes(sent_to(again, RESULTS)) == {"r1": ROUTE}


async def test_result_of_an_undecodable_record_or_a_bug_is_routed() -> None:
    ledger = LedgerLogHarness()
    ledger.append(audit(JOB, "validation", "accepted", "cause"))
    await ledger.run()
    headers = [("ce_correlationid", b"r1")]
    undecodable = make_record(b"\xff", topic=AUDIT, headers=headers, offset=1)
    for _ in range(2):
        effects = ledger.ledger.handle(undecodable)
        ledger.write(effects)
        assert routes(sent_to(effects, RESULTS)) == {"r1": ROUTE}
    bug = on_bug(as_incoming(failed_proposal(JOB)), RuntimeError("x"))
    assert routes(sent_to(bug, RESULTS)) == {"r1": ROUTE}


async def test_summary_of_an_expired_batch_is_routed() -> None:
    ledger = LedgerLogHarness()
    ledger.append(introduce_batch(member(0, reply=REPLY), "ledger", "cause"))
    await ledger.run()
    ledger.clock.now += 1e6
    ledger.sweep()
    await ledger.run()
    assert routes(ledger.published) == {"b": ROUTE}


async def test_retry_keeps_the_reply() -> None:
    ledger = LedgerLogHarness()
    ledger.append(audit(JOB, "validation", "accepted", "cause"), failed_proposal(JOB))
    await ledger.run()
    command = Retry(id="c", new_id="n", request_id="r1", options=OptionChanges(quality="480p"))
    sent = user_command(command, "commands", at=WRITTEN_AT, cause="c", trace_id=TRACE_ID)
    again = only_record(ledger.ledger.handle(as_incoming(sent, offset=9)), REQUESTS)
    assert body_of(again, Request).reply_to == "billing"
    assert CORRELATED in again.headers


def test_correlation_id_is_preserved_byte_for_byte() -> None:
    every_byte = Reply(correlation_id=bytes(range(256)))
    assert msgspec.json.decode(encode(every_byte), type=Reply) == every_byte
