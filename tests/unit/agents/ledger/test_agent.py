import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agents.ledger import batches
from agents.ledger.agent import LATE_SECONDS, SWEEP_SECONDS, Ledger
from agents.ledger.agent import stage as ledger_stage
from agents.ledger.batch_state import Batch, batch_of_job
from agents.ledger.batches import Batches
from agents.ledger.bug_report import BUG_RESULT_TTL_SECONDS, on_bug
from agents.ledger.events import TABLE, introduce_batch
from agents.ledger.request_state import Decided, Open, read_row, snapshot_of
from agents.pipeline.events import audit, propose_result, user_command
from agents.pipeline.request_parsing import jobs_of, read_request
from agents.pipeline.results import completed, error_result, expired, listing_result
from schemas.audit import AuditRecord
from schemas.codec import decode, encode
from schemas.commands import Cancel, OptionChanges, Retry
from schemas.error_catalog import explain
from schemas.errors import ErrorCode
from schemas.job import BatchMember, Job
from schemas.listing import Listing
from schemas.request import Options, Request
from schemas.results import Cancelled, Failed, Rejected, Result
from streams.envelope import open_envelope
from streams.faust_driver.tables import StageTable
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.topics import AUDIT, REQUESTS, RESULTS
from tests.unit.agents.builders import (
    ENGINE,
    FUTURE,
    INFO,
    TRACE_ID,
    URL,
    WRITTEN,
    WRITTEN_AT,
    Clock,
    apply_writes,
    as_incoming,
    body_of,
    dead_letters,
    header,
    make_context,
    make_indexed_table,
    make_job,
    make_record,
    make_settings,
    make_table,
    member_job,
    only_record,
    opened_stage,
    sent_to,
    writes,
)
from tests.unit.agents.builders import (
    outcome as outcome_of,
)
from tests.unit.agents.caching.slices import effects_in, keys_in

JOB = make_job(timings={"extraction": 1.5})
OPEN_SECONDS = 500.0
ORDERED_AT = WRITTEN_AT + timedelta(minutes=1)


def completed_result(job: Job = JOB) -> Result:
    return completed(job, INFO, cache="hit", engine=ENGINE)


def failed_result(job: Job = JOB, code: ErrorCode = ErrorCode.NETWORK_DNS) -> Result:
    return error_result(job, explain(code, operation="extraction", url=URL))


def proposal(outcome: Result, *, offset: int = 0, job: Job = JOB) -> Incoming:
    return as_incoming(propose_result(job, "download", outcome, "cause"), offset=offset)


def record_id_at(offset: int) -> str:
    return make_record(None, topic=AUDIT, offset=offset).record_id


class LedgerHarness:
    """A ledger with its tables; effects are applied at once."""

    def __init__(self, remember_seconds: float = 100.0) -> None:
        self.table = make_indexed_table(TABLE, ledger_stage.indexes[TABLE])
        self.batch_table: StageTable = make_table(batches.TABLE)
        self.clock = Clock()
        self.batches = Batches(
            self.batch_table.get,
            open_seconds=OPEN_SECONDS,
            remember_seconds=remember_seconds,
            clock=self.clock,
        )
        self.ledger = Ledger(
            self.table.get,
            self.batches,
            open_seconds=OPEN_SECONDS,
            remember_seconds=remember_seconds,
            clock=self.clock,
        )

    def request_state(self, request_id: str = "r1") -> Any:
        return read_row(self.table.get(request_id))

    async def run(self, record: Incoming) -> list[Effect]:
        effects = list(self.ledger.handle(record))
        self.apply(effects)
        return effects

    def apply(self, effects: Sequence[Effect]) -> None:
        for table in (self.table, self.batch_table):
            apply_writes(table, effects)

    def batch(self, batch_id: str = "b1") -> Batch | None:
        return self.batches.get(batch_id)


def published_result(effects: Sequence[Effect]) -> Result:
    return body_of(only_record(effects, RESULTS), Result)  # type: ignore[arg-type]


async def test_first_outcome_is_published_and_stored() -> None:
    harness = LedgerHarness()
    effects = await harness.run(proposal(completed_result(), offset=4))
    assert published_result(effects) == completed_result_as_published(effects)
    (row,) = writes(effects)
    assert (row.table, row.key) == (TABLE, "r1")
    assert decode(row.value or b"", Decided) == Decided(
        record_id=record_id_at(4), expires_at=1_100.0, trace_id=TRACE_ID
    )


def completed_result_as_published(effects: Sequence[Effect]) -> Result:
    found = published_result(effects)
    return msgspec.structs.replace(completed_result(), finished_at=found.finished_at)


async def test_result_headers_name_request_cause_and_trace() -> None:
    record = proposal(completed_result())
    sent = only_record(await LedgerHarness().run(record), RESULTS)
    assert sent.key == b"r1"
    assert header(sent, "ce_correlationid") == "r1"
    assert header(sent, "ce_causationid") == header(record, "ce_id")
    assert (header(sent, "traceparent") or "")[3:35] == TRACE_ID


OUTCOMES = [
    completed_result(),
    failed_result(),
    failed_result(code=ErrorCode.REQUEST_INVALID),
    failed_result(code=ErrorCode.REQUEST_CANCELLED),
    expired(JOB, "download"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda each: type(each).__name__)
async def test_every_outcome_type_is_published_as_proposed(outcome: Result) -> None:
    sent = only_record(await LedgerHarness().run(proposal(outcome)), RESULTS)
    assert sent.value == encode(outcome)
    status = type(outcome).__name__.lower()
    assert header(sent, "ce_type") == f"io.clipmill.request.{status}.v1"


@pytest.mark.parametrize("transition", ["extracted", "selected", "failed", "retrying"])
async def test_other_transitions_publish_nothing(transition: Any) -> None:
    record = as_incoming(audit(JOB, "extraction", transition, "cause", detail={"a": "b"}))
    assert await LedgerHarness().run(record) == []


async def test_redelivered_proposal_publishes_the_same_bytes() -> None:
    harness, record = LedgerHarness(), proposal(completed_result(), offset=4)
    first = await harness.run(record)
    second = await harness.run(record)
    assert only_record(second, RESULTS).value == only_record(first, RESULTS).value
    assert header(only_record(second, RESULTS), "ce_id") == header(
        only_record(first, RESULTS), "ce_id"
    )
    assert not writes(second)


async def test_crash_before_the_row_publishes_the_same_result() -> None:
    harness, record = LedgerHarness(), proposal(completed_result(), offset=4)
    first = harness.ledger.handle(record)
    harness.clock.now += 30
    second = harness.ledger.handle(record)
    assert only_record(first, RESULTS).value == only_record(second, RESULTS).value


@pytest.mark.parametrize(
    "late", [completed_result(), failed_result()], ids=["copy", "another outcome"]
)
async def test_later_outcome_is_dropped(late: Result) -> None:
    harness = LedgerHarness()
    await harness.run(proposal(completed_result(), offset=4))
    assert await harness.run(proposal(late, offset=5)) == []


async def test_same_offset_of_a_recreated_audit_topic_is_another_record() -> None:
    harness = LedgerHarness()
    await harness.run(proposal(completed_result(), offset=4))
    later = as_incoming(
        propose_result(JOB, "download", failed_result(), "cause"), offset=4, timestamp=WRITTEN + 1
    )
    assert await harness.run(later) == []


async def test_requests_are_independent() -> None:
    harness = LedgerHarness()
    await harness.run(proposal(completed_result()))
    other = member_job(1)
    effects = await harness.run(proposal(failed_result(other), offset=1, job=other))
    assert published_result(effects).request_id == "b1/1"


async def test_decided_row_expires() -> None:
    harness = LedgerHarness(remember_seconds=100.0)
    await harness.run(proposal(completed_result()))
    harness.clock.now += 99.9
    assert keys_in(harness.table.expired(harness.clock())) == []
    harness.clock.now += 0.1
    assert keys_in(harness.table.expired(harness.clock())) == ["r1"]


def test_undecodable_rows_are_deleted() -> None:
    harness = LedgerHarness()
    apply_writes(harness.table, [TableWrite(TABLE, "a", b"\xff")])
    assert keys_in(harness.table.expired(harness.clock())) == ["a"]


async def test_undecodable_row_counts_as_decided() -> None:
    harness = LedgerHarness()
    apply_writes(harness.table, [TableWrite(TABLE, "r1", b"\xff")])
    assert await harness.run(proposal(completed_result())) == []


async def test_stage_sweep_deletes_expired_rows() -> None:
    context, _ = make_context(make_settings(), batches.TABLE, indexes=ledger_stage.indexes)
    async with opened_stage(ledger_stage, context) as handle:
        table = context.tables[TABLE]
        apply_writes(table, await handle(proposal(completed_result())))
        (seconds, sweep), *_ = context.periodic
        assert seconds == SWEEP_SECONDS
        assert effects_in(sweep()) == []
        row = Decided(record_id="p", expires_at=1.0)
        apply_writes(table, [TableWrite(TABLE, "old", encode(row))])
        swept = effects_in(sweep())
        assert [(each.key, each.value) for each in writes(swept)] == [("old", None)]
        apply_writes(table, swept)
        assert table.get("old") is None
        assert table.get("r1") is not None


# Metrics


def duration_count(status: str, action: str, cache: str) -> float:
    labels = {"status": status, "action": action, "cache": cache}
    return REGISTRY.get_sample_value("clipmill_request_duration_seconds_count", labels) or 0.0


@pytest.mark.parametrize(
    ("outcome", "is_known", "labels"),
    [
        pytest.param(completed_result(), True, ("completed", "info", "hit"), id="from a cache"),
        pytest.param(failed_result(), True, ("failed", "info", ""), id="no page"),
        pytest.param(completed_result(), False, ("completed", "", "hit"), id="unknown request"),
    ],
)
async def test_duration_is_counted_once_by_action_and_cache(
    outcome: Result, is_known: bool, labels: tuple[str, str, str]
) -> None:
    harness, job = LedgerHarness(), msgspec.structs.replace(JOB, action="info")
    if is_known:
        await harness.run(as_incoming(audit(job, "validation", "accepted", "cause")))
    before = duration_count(*labels)
    await harness.run(proposal(outcome, job=job, offset=8))
    await harness.run(proposal(outcome, job=job, offset=9))
    assert duration_count(*labels) == before + 1


async def test_cancelled_request_is_counted_by_its_action() -> None:
    harness, job = LedgerHarness(), msgspec.structs.replace(JOB, action="list")
    await harness.run(as_incoming(audit(job, "validation", "accepted", "cause")))
    before = duration_count("cancelled", "list", "")
    cancel = Cancel(request_id=job.request_id, by="me")
    await harness.run(
        as_incoming(
            user_command(cancel, "commands", at=ORDERED_AT, cause="c", trace_id=TRACE_ID), offset=9
        )
    )
    assert duration_count("cancelled", "list", "") == before + 1


async def test_open_requests_are_counted_and_results_start_at_zero() -> None:
    context, _ = make_context(make_settings(), batches.TABLE, indexes=ledger_stage.indexes)
    async with opened_stage(ledger_stage, context) as handle:
        table = context.tables[TABLE]
        for name in ("a", "b", "c"):
            job = make_job(request_id=name)
            apply_writes(
                table, await handle(as_incoming(audit(job, "validation", "accepted", "cause")))
            )
        job = make_job(request_id="a")
        apply_writes(table, await handle(proposal(failed_result(job), job=job, offset=9)))
        count = context.periodic[-1][1]
        assert effects_in(count()) == []
    assert REGISTRY.get_sample_value("clipmill_requests_open") == 2
    for status, code in (("completed", ""), ("expired", "request.expired"), *_FAILURES):
        labels = {"status": status, "error_type": code}
        assert REGISTRY.get_sample_value("clipmill_results_total", labels) is not None


_FAILURES = [("failed", code) for code in ErrorCode if not code.startswith("request.")]


# Undecodable records and bugs

UNDECODABLE = [None, b"", b"\xff", b"{}", b"null", b'{"request_id":"r1"}', b"[" * 10_000]
HEADERS = [("ce_correlationid", b"r1"), ("traceparent", f"00-{TRACE_ID}-{'1' * 16}-01".encode())]


def audit_body_with(outcome: object) -> bytes:
    entry = decode(proposal(completed_result()).value or b"", dict[str, Any])
    return encode({**entry, "outcome": outcome})


MALFORMED_OUTCOMES = [
    7,
    "completed",
    {},
    [],
    {"status": "x" * 10_000, "trace_id": TRACE_ID},
    {"status": "failed", "trace_id": TRACE_ID, "error": {"error_type": "what.ever"}},
    {"status": "completed", "trace_id": TRACE_ID, "timings": {"a": "b"}},
]


@pytest.mark.parametrize(
    "value", [*UNDECODABLE, *map(audit_body_with, MALFORMED_OUTCOMES)], ids=lambda v: repr(v)[:40]
)
async def test_undecodable_record_ends_its_request(value: bytes | None) -> None:
    harness = LedgerHarness()
    record = make_record(value, topic=AUDIT, headers=HEADERS)
    effects = await harness.run(record)
    assert [each.value for each in dead_letters(effects)] == [value]
    found = published_result(effects)
    assert isinstance(found, Failed)
    assert (found.request_id, found.trace_id) == ("r1", TRACE_ID)
    assert await harness.run(proposal(completed_result(), offset=99)) == []


async def test_undecodable_record_without_a_request_is_only_dead_lettered() -> None:
    effects = await LedgerHarness().run(make_record(b"\xff", topic=AUDIT))
    assert effects == dead_letters(effects)
    assert len(effects) == 1


async def test_undecodable_record_does_not_change_a_decided_request() -> None:
    harness = LedgerHarness()
    await harness.run(proposal(completed_result(), offset=4))
    effects = await harness.run(make_record(b"\xff", topic=AUDIT, headers=HEADERS, offset=5))
    assert effects == dead_letters(effects)
    assert len(effects) == 1


async def test_redelivered_undecodable_record_publishes_the_same_result() -> None:
    harness = LedgerHarness()
    record = make_record(b"\xff", topic=AUDIT, headers=HEADERS)
    first, second = await harness.run(record), await harness.run(record)
    assert only_record(first, RESULTS).value == only_record(second, RESULTS).value


def test_bug_ends_the_request_and_is_dead_lettered() -> None:
    record = proposal(completed_result(), offset=4)
    effects = on_bug(record, RuntimeError("https://h.example/?sig=s3cret"))
    found = published_result(effects)
    assert isinstance(found, Failed)
    assert found.error.error_type is ErrorCode.INTERNAL_BUG
    assert "s3cret" not in str(found)
    assert [each.value for each in dead_letters(effects)] == [record.value]
    (row,) = writes(effects)
    assert (row.table, row.key) == (TABLE, "r1")
    assert decode(row.value or b"", Decided).record_id == record_id_at(4)
    assert BUG_RESULT_TTL_SECONDS > 0


def test_repeated_bug_publishes_the_same_result() -> None:
    record = proposal(completed_result())
    first, second = (only_record(on_bug(record, RuntimeError("x")), RESULTS) for _ in range(2))
    assert first.value == second.value


# Open requests


def accepted_record(job: Job = JOB, *, offset: int = 0) -> Incoming:
    return as_incoming(audit(job, "validation", "accepted", "cause"), offset=offset)


async def test_first_record_of_a_request_opens_its_row() -> None:
    harness = LedgerHarness()
    effects = await harness.run(accepted_record())
    assert effects == writes(effects)
    assert harness.request_state() == Open(job=snapshot_of(JOB), expires_at=1_000.0 + OPEN_SECONDS)
    harness.clock.now += 1
    assert await harness.run(accepted_record(offset=1)) == []


async def test_decided_row_keeps_the_request_snapshot() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    await harness.run(proposal(completed_result(), offset=4))
    assert harness.request_state() == Decided(
        record_id=record_id_at(4), expires_at=1_100.0, job=snapshot_of(JOB)
    )
    assert await harness.run(accepted_record(offset=5)) == []


async def test_outcome_that_carries_the_job_stores_its_snapshot() -> None:
    harness = LedgerHarness()
    outcome = failed_result(code=ErrorCode.CONTENT_NOT_FOUND)
    await harness.run(as_incoming(propose_result(JOB, "validation", outcome, "cause")))
    assert harness.request_state().job == snapshot_of(JOB)


@pytest.mark.parametrize("opens", [True, False])
async def test_rejected_request_stores_no_snapshot(opens: bool) -> None:
    harness = LedgerHarness()
    if opens:
        await harness.run(accepted_record())
    outcome = failed_result(code=ErrorCode.REQUEST_INVALID)
    await harness.run(as_incoming(propose_result(JOB, "validation", outcome, "cause"), offset=1))
    assert harness.request_state().job is None


async def test_job_without_a_url_is_not_stored() -> None:
    harness, job = LedgerHarness(), make_job(url="")
    outcome = failed_result(job, ErrorCode.REQUEST_TOO_LARGE)
    await harness.run(as_incoming(propose_result(job, "validation", outcome, "cause")))
    assert harness.request_state().job is None


async def test_replay_opens_its_row_at_any_step() -> None:
    harness, job = LedgerHarness(), JOB.as_replay(2, JOB.received_at)
    await harness.run(as_incoming(audit(job, "extraction", "extracted", "cause")))
    assert harness.request_state("r1/replay-2") == Open(job=snapshot_of(job), expires_at=1_500.0)


async def test_open_row_expires() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    harness.clock.now += OPEN_SECONDS - 0.1
    assert keys_in(harness.table.expired(harness.clock())) == []
    harness.clock.now += 0.1
    assert keys_in(harness.table.expired(harness.clock())) == ["r1"]


async def test_undecodable_record_ends_an_open_request() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    effects = await harness.run(make_record(b"\xff", topic=AUDIT, headers=HEADERS, offset=1))
    assert isinstance(published_result(effects), Failed)
    assert isinstance(harness.request_state(), Decided)


async def test_open_rows_outlive_the_total_retry_time() -> None:
    context, _ = make_context(
        make_settings(retry={"total_seconds": 50}), batches.TABLE, indexes=ledger_stage.indexes
    )
    async with opened_stage(ledger_stage, context) as handle:
        (row,) = writes(await handle(accepted_record()))
    left = decode(row.value or b"", Open).expires_at - time.time()
    assert left == pytest.approx(50 + LATE_SECONDS, abs=10)


# Batches

FIRST = member_job(0, 3)


async def test_first_member_introduces_its_batch() -> None:
    harness = LedgerHarness()
    effects = await harness.run(accepted_record(FIRST))
    assert set(dict(harness.table.items())) == {"b1/0"}
    introduction = only_record(effects, AUDIT)
    assert introduction.key == b"b1"
    effects = await harness.run(as_incoming(introduction, offset=1))
    assert harness.batch() == batch_of_job(FIRST).with_expiry(1_500.0)
    assert harness.request_state("b1") is None
    assert await harness.run(as_incoming(introduction, offset=2)) == []


async def test_batch_is_introduced_again_after_a_crash_and_with_an_outcome() -> None:
    harness = LedgerHarness()
    first = await harness.run(accepted_record(FIRST))
    again = await harness.run(accepted_record(FIRST))
    assert only_record(again, AUDIT).value == only_record(first, AUDIT).value
    ended_at_once = as_incoming(
        propose_result(FIRST, "validation", failed_result(FIRST), "cause"), offset=3
    )
    for _ in range(2):
        introduction, _ = sent_to(await harness.run(ended_at_once), AUDIT)
        assert introduction.value == only_record(first, AUDIT).value


async def test_other_members_do_not_introduce_the_batch() -> None:
    effects = await LedgerHarness().run(accepted_record(member_job(1, 3)))
    assert not sent_to(effects, AUDIT)


async def test_request_with_the_id_of_a_batch_is_independent_of_it() -> None:
    harness = LedgerHarness()
    await harness.run(as_incoming(introduce_batch(FIRST, "ledger", "cause")))
    job = make_job(request_id="b1")
    await harness.run(accepted_record(job, offset=1))
    assert harness.request_state("b1") == Open(job=snapshot_of(job), expires_at=1_500.0)
    await harness.run(as_incoming(introduce_batch(FIRST, "ledger", "cause"), offset=2))
    assert isinstance(harness.request_state("b1"), Open)
    assert harness.batch() == batch_of_job(FIRST).with_expiry(1_500.0)


async def test_undecodable_record_with_the_id_of_a_batch_does_not_end_it() -> None:
    harness = LedgerHarness()
    await harness.run(as_incoming(introduce_batch(FIRST, "ledger", "cause")))
    headers = [("ce_correlationid", b"b1")]
    effects = await harness.run(make_record(b"\xff", topic=AUDIT, headers=headers, offset=1))
    assert effects == dead_letters(effects)
    assert len(effects) == 1


# User commands


def command_record(command: Cancel | Retry, *, offset: int = 7) -> Incoming:
    sent = user_command(command, "commands", at=ORDERED_AT, cause="c1", trace_id=TRACE_ID)
    return as_incoming(sent, offset=offset)


def cancel_record(request_id: str = "r1", **fields: Any) -> Incoming:
    return command_record(Cancel(id="c1", request_id=request_id, by="ann"), **fields)


def retry_record(request_id: str = "r1", *, offset: int = 7, **fields: Any) -> Incoming:
    command = Retry(id="c1", new_id="n1", request_id=request_id, by="ann", **fields)
    return command_record(command, offset=offset)


def rejection(effects: Sequence[Effect]) -> Rejected:
    found = outcome_of(effects)
    assert isinstance(found, Rejected)
    details = found.error.technical_details
    assert details["field"] == "$.request_id"
    name = "cancel" if found.retry_of is None else "retry"
    assert details["command"] == name
    assert details["request_id"] in details["reason"]
    return found


async def test_open_request_is_cancelled_at_once() -> None:
    harness, job = LedgerHarness(), make_job(attributes={"a": "b"}, retry_of="r0")
    await harness.run(accepted_record(job))
    effects = await harness.run(cancel_record())
    found = published_result(effects)
    assert isinstance(found, Cancelled)
    assert (found.request_id, found.url, found.finished_at) == ("r1", URL, ORDERED_AT)
    assert (found.attributes, found.retry_of, found.trace_id) == ({"a": "b"}, "r0", TRACE_ID)
    assert found.error.technical_details == {"by": "ann"}
    assert found.error.recovery_options == ("clipmill retry r1",)
    assert harness.request_state() == Decided(
        record_id=record_id_at(7), expires_at=1_100.0, job=snapshot_of(job), status="cancelled"
    )


async def test_cancelled_member_has_its_batch_fields() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record(member_job(2, 3)))
    found = published_result(await harness.run(cancel_record("b1/2")))
    assert (found.batch_id, found.batch_index, found.batch_size) == ("b1", 2, 3)


async def test_redelivered_cancellation_publishes_the_same_result() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    before_the_row = harness.ledger.handle(cancel_record())
    harness.clock.now += 30
    first = await harness.run(cancel_record())
    harness.clock.now += 30
    after_the_row = await harness.run(cancel_record())
    bodies = {only_record(each, RESULTS).value for each in (before_the_row, first, after_the_row)}
    assert len(bodies) == 1
    assert not writes(after_the_row)


async def test_outcomes_after_a_cancellation_are_dropped() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    await harness.run(cancel_record())
    for offset, late in enumerate(
        (completed_result(), failed_result(code=ErrorCode.REQUEST_CANCELLED)), start=8
    ):
        assert await harness.run(proposal(late, offset=offset)) == []


async def test_cancellation_of_a_decided_request_is_rejected_with_its_status() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    await harness.run(proposal(completed_result(), offset=4))
    first = rejection(await harness.run(cancel_record(offset=5)))
    assert first.request_id == "c1"
    assert "r1 already has its outcome: completed" in first.error.user_message
    assert rejection(await harness.run(cancel_record(offset=5))).error == first.error


@pytest.mark.parametrize("request_id", ["r1", "b1/77"])
async def test_cancellation_of_an_unknown_request_is_rejected(request_id: str) -> None:
    found = rejection(await LedgerHarness().run(cancel_record(request_id)))
    assert found.request_id == "c1"
    assert request_id in found.error.user_message


async def test_batch_cancellation_is_split_into_its_members() -> None:
    harness = LedgerHarness()
    for index in range(3):
        await harness.run(accepted_record(member_job(index, 4), offset=index))
    await harness.run(as_incoming(introduce_batch(member_job(0, 4), "ledger", "cause"), offset=8))
    parts = sent_to(await harness.run(cancel_record("b1", offset=9)), AUDIT)
    assert [each.key for each in parts] == [b"b1/0", b"b1/1", b"b1/2", b"b1/3"]
    assert len({header(each, "ce_id") for each in parts}) == 4
    results = [await harness.run(as_incoming(each, offset=10 + n)) for n, each in enumerate(parts)]
    assert [published_result(each).request_id for each in results[:3]] == ["b1/0", "b1/1", "b1/2"]
    assert results[3] == [], "a member that is not known yet is not an error"


async def test_listing_cancellation_cancels_its_members() -> None:
    harness, job = LedgerHarness(), make_job(options=Options(limit=2))
    await harness.run(accepted_record(job))
    listing = Listing(platform="tiktok", kind="profile", id="a", url=URL)
    outcome = listing_result(job, listing, cache="miss", engine=ENGINE, members=2)
    await harness.run(proposal(outcome, offset=1, job=job))
    places = (BatchMember(id="r1", index=index, size=2) for index in range(2))
    members = [make_job(request_id=f"r1/{each.index}", batch=each) for each in places]
    for offset, member in enumerate(members, start=2):
        await harness.run(
            as_incoming(audit(member, "extraction", "accepted", "cause"), offset=offset)
        )
    parts = sent_to(await harness.run(cancel_record(offset=9)), AUDIT)
    assert [each.key for each in parts] == [b"r1/0", b"r1/1"]
    ends = [
        published_result(await harness.run(as_incoming(each, offset=10 + n)))
        for n, each in enumerate(parts)
    ]
    assert all(isinstance(each, Cancelled) for each in ends)


async def test_first_member_of_a_listing_does_not_reopen_it() -> None:
    harness, job = LedgerHarness(), make_job(options=Options(limit=1))
    await harness.run(accepted_record(job))
    listing = Listing(platform="tiktok", kind="profile", id="a", url=URL)
    await harness.run(
        proposal(listing_result(job, listing, cache="miss", engine=ENGINE, members=1), job=job)
    )
    before = harness.request_state()
    first = make_job(request_id="r1/0", batch=BatchMember(id="r1", index=0, size=1))
    effects = await harness.run(
        as_incoming(audit(first, "extraction", "accepted", "cause"), offset=2)
    )
    for offset, each in enumerate(sent_to(effects, AUDIT), start=3):
        await harness.run(as_incoming(each, offset=offset))
    assert harness.request_state() == before


async def test_retry_resubmits_a_decided_request() -> None:
    harness = LedgerHarness()
    job = make_job(
        options=Options(quality="1080p", codec="h264"),
        action="info",
        priority=7,
        attributes={"a": "b"},
        deadline=FUTURE,
    )
    await harness.run(accepted_record(job))
    await harness.run(proposal(failed_result(job), offset=4, job=job))
    effects = await harness.run(
        retry_record(options=OptionChanges(quality="480p", watermark="allow"))
    )
    assert len(effects) == 1
    sent = only_record(effects, REQUESTS)
    assert sent.key == b"n1"
    assert body_of(sent, Request) == Request(
        id="n1",
        url=URL,
        action="info",
        options=Options(quality="480p", codec="h264", watermark="allow"),
        priority=7,
        attributes={"a": "b"},
        retry_of="r1",
    )
    assert header(sent, "ce_correlationid") == "n1"
    assert (header(sent, "traceparent") or "")[3:35] == TRACE_ID


async def test_retry_is_parsed_by_validation() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    await harness.run(proposal(completed_result(), offset=4))
    record = as_incoming(only_record(await harness.run(retry_record()), REQUESTS))
    envelope = open_envelope(record)
    (job,) = jobs_of(read_request(envelope), envelope, record)
    assert (job.request_id, job.retry_of, job.url, job.batch) == ("n1", "r1", URL, None)


async def test_member_is_retried_as_a_single_request() -> None:
    harness, member = LedgerHarness(), member_job(2, 3)
    await harness.run(accepted_record(member))
    await harness.run(proposal(failed_result(member), offset=4, job=member))
    retried = body_of(only_record(await harness.run(retry_record("b1/2")), REQUESTS), Request)
    assert (retried.id, retried.url, retried.urls, retried.retry_of) == ("n1", URL, None, "b1/2")


async def test_redelivered_retry_publishes_the_same_request() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    await harness.run(proposal(completed_result(), offset=4))
    first, second = [only_record(await harness.run(retry_record()), REQUESTS) for _ in range(2)]
    assert (first.key, first.value) == (second.key, second.value)
    assert header(first, "ce_id") == header(second, "ce_id")


async def put_request_state(harness: LedgerHarness, state: str) -> None:
    match state:
        case "open":
            await harness.run(accepted_record())
        case "batch":
            place = BatchMember(id="r1", index=0, size=3)
            first = make_job(request_id="r1/0", batch=place)
            await harness.run(as_incoming(introduce_batch(first, "ledger", None)))
        case "refused":
            await harness.run(proposal(failed_result(code=ErrorCode.REQUEST_INVALID)))
        case "unreadable":
            apply_writes(harness.table, [TableWrite(TABLE, "r1", b"\xff")])


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("unknown", "no record of r1"),
        ("open", "r1 is in progress; cancel it first"),
        ("batch", "retry its members, r1/0 to r1/2"),
        ("refused", "submit it again"),
        ("unreadable", "submit it again"),
    ],
)
async def test_invalid_retry_is_rejected_under_the_new_id(state: str, reason: str) -> None:
    harness = LedgerHarness()
    await put_request_state(harness, state)
    effects = await harness.run(retry_record())
    assert len(effects) == 1
    assert only_record(effects, AUDIT).key == b"n1"
    found = rejection(effects)
    assert (found.request_id, found.retry_of) == ("n1", "r1")
    assert reason in found.error.user_message


async def test_rejection_of_a_retry_is_its_only_result() -> None:
    harness = LedgerHarness()
    await harness.run(accepted_record())
    rejection_record = only_record(await harness.run(retry_record()), AUDIT)
    assert isinstance(
        published_result(await harness.run(as_incoming(rejection_record, offset=8))), Rejected
    )
    await harness.run(proposal(completed_result(), offset=9))
    assert sent_to(await harness.run(retry_record(offset=10)), REQUESTS), (
        "a redelivery succeeds once it can be retried"
    )
    again = make_job(request_id="n1")
    assert await harness.run(accepted_record(again, offset=11)) == []
    assert await harness.run(proposal(completed_result(again), offset=12, job=again)) == []


@pytest.mark.parametrize("step", ["commands", "ledger"])
@pytest.mark.parametrize("state", ["open", "batch"])
async def test_rejected_command_does_not_end_a_request_with_its_id(step: str, state: str) -> None:
    harness = LedgerHarness()
    await put_request_state(harness, state)
    before = (harness.request_state(), harness.batch("r1"))
    rejection_record = propose_result(
        JOB, step, failed_result(code=ErrorCode.REQUEST_INVALID), None
    )
    assert not sent_to(await harness.run(as_incoming(rejection_record, offset=9)), RESULTS)
    assert (harness.request_state(), harness.batch("r1")) == before


async def test_audit_record_of_a_command_has_step_transition_and_detail() -> None:
    record = cancel_record()
    entry = decode(record.value or b"", AuditRecord)
    assert entry.detail == {"command": "cancel", "by": "ann"}
    assert (entry.step, entry.transition, entry.at) == ("commands", "ordered", ORDERED_AT)


@pytest.mark.parametrize(
    ("record", "expected_id"),
    [
        (cancel_record(), "c1"),
        (retry_record(), "n1"),
        (command_record(Cancel(request_id="r1")), None),
    ],
    ids=["cancel", "retry", "part of a batch cancellation"],
)
def test_bug_at_a_command_ends_no_request(record: Incoming, expected_id: str | None) -> None:
    effects = on_bug(record, RuntimeError("x"))
    assert len(dead_letters(effects)) == 1
    assert not writes(effects)
    assert not sent_to(effects, RESULTS)
    answers = [outcome_of([each]) for each in sent_to(effects, AUDIT)]
    assert [each.request_id for each in answers] == ([expected_id] if expected_id else [])
    assert all(each.error.error_type is ErrorCode.INTERNAL_BUG for each in answers)


# Model: records in any order, with a crash at any point


class LedgerMachine(RuleBasedStateMachine):
    """One partition of the audit topic, handled with crashes: three requests and their retries."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Incoming] = []
        self.committed = 0
        self.published: dict[str, set[bytes]] = {}
        self.proposed: set[str] = set()
        self.harness = LedgerHarness(remember_seconds=1e9)

    def _append(self, record: Outgoing) -> None:
        self.log.append(as_incoming(record, offset=len(self.log)))

    @rule(request=st.sampled_from("abc"), code=st.sampled_from(ErrorCode))
    def propose_failure(self, request: str, code: ErrorCode) -> None:
        job = make_job(request_id=request)
        self._append(propose_result(job, "extraction", failed_result(job, code), "cause"))

    @rule(request=st.sampled_from("abc"))
    def propose_success(self, request: str) -> None:
        job = make_job(request_id=request)
        self._append(propose_result(job, "download", completed_result(job), "cause"))

    @rule(request=st.sampled_from("abc"))
    def report_transition(self, request: str) -> None:
        self._append(audit(make_job(request_id=request), "extraction", "accepted", None))

    @rule(request=st.sampled_from("abc"))
    def accept(self, request: str) -> None:
        self._append(audit(make_job(request_id=request), "validation", "accepted", None))

    @rule(request=st.sampled_from("abc"))
    def cancel(self, request: str) -> None:
        self._command(Cancel(id=f"c{len(self.log)}", request_id=request))

    @rule(request=st.sampled_from("abc"), new_id=st.sampled_from("xyz"))
    def retry(self, request: str, new_id: str) -> None:
        self._command(Retry(id=f"c{len(self.log)}", request_id=request, new_id=new_id))

    def _command(self, command: Cancel | Retry) -> None:
        sent = user_command(
            command, "commands", at=ORDERED_AT, cause=command.id or "", trace_id=TRACE_ID
        )
        self._append(sent)

    @rule(request=st.sampled_from("abc"))
    def publish_undecodable(self, request: str) -> None:
        headers = (("ce_correlationid", request.encode()),)
        self._append(Outgoing(AUDIT, request.encode(), b"\xff", headers))

    @rule(seconds=st.floats(0, 1_000))
    def wait(self, seconds: float) -> None:
        self.harness.clock.now += seconds

    @rule(count=st.integers(0, 5), delivered=st.sets(st.integers(0, 2)), commits=st.booleans())
    def read(self, count: int, delivered: set[int], commits: bool) -> None:
        """Handle records; without a commit, only some effects of the last one are delivered."""
        batch = self.log[self.committed : self.committed + count]
        for record in batch:
            effects = self.harness.ledger.handle(record)
            last = record is batch[-1]
            partial = [each for index, each in enumerate(effects) if index in delivered]
            self._write(partial if last and not commits else effects)
        if commits:
            self.committed += len(batch)
            self.proposed |= {_request_id_of(each) for each in batch if _is_final(each)}

    def _write(self, effects: Sequence[Effect]) -> None:
        self.harness.apply(effects)
        for sent in sent_to(effects, RESULTS):
            key = (sent.key or b"").decode()
            self.published.setdefault(key, set()).add(sent.value or b"")
        for sent in sent_to(effects, AUDIT):
            self._append(sent)
        for sent in sent_to(effects, REQUESTS):
            job = make_job(request_id=body_of(sent, Request).id)
            self._append(audit(job, "validation", "accepted", None))
            self._append(propose_result(job, "download", completed_result(job), "cause"))

    @invariant()
    def each_request_has_at_most_one_result(self) -> None:
        assert all(len(bodies) == 1 for bodies in self.published.values())

    @invariant()
    def every_proposed_request_has_a_result(self) -> None:
        assert self.proposed <= set(self.published)


def _is_final(record: Incoming) -> bool:
    return b'"finished"' in (record.value or b"") or record.value == b"\xff"


def _request_id_of(record: Incoming) -> str:
    return (record.key or b"").decode()


TestLedgerModel = LedgerMachine.TestCase
TestLedgerModel.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
