import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import agents.ledger.agent
from agents.caching.row_expiry import ROW_OVERHEAD_BYTES
from agents.ledger import batches
from agents.ledger.agent import LATE_SECONDS, SWEEP_SECONDS, Ledger
from agents.ledger.agent import stage as ledger_stage
from agents.ledger.batch_records import introduce_batch
from agents.ledger.batch_state import Batch, batch_of_job
from agents.ledger.batches import Batches
from agents.ledger.bug_report import BUG_RESULT_TTL_SECONDS, on_bug
from agents.ledger.events import TABLE
from agents.ledger.request_state import Decided, Open, essence_of, read_row
from agents.pipeline.events import audit, propose_result, user_command
from agents.pipeline.request_parsing import jobs_of, read_request
from agents.pipeline.results import completed, ended, expired, listed
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
    arrive,
    body_of,
    dead_letters,
    header,
    make_context,
    make_job,
    make_record,
    make_settings,
    make_table,
    member_job,
    only,
    opened_stage,
    sent_to,
    show,
    writes,
)
from tests.unit.agents.builders import (
    outcome as outcome_of,
)

JOB = make_job(timings={"extraction": 1.5})
OPEN_SECONDS = 500.0
ORDERED = WRITTEN_AT + timedelta(minutes=1)


def done(job: Job = JOB) -> Result:
    return completed(job, INFO, cache="hit", engine=ENGINE)


def failed(job: Job = JOB, code: ErrorCode = ErrorCode.NETWORK_DNS) -> Result:
    return ended(job, explain(code, operation="extraction", url=URL))


def proposal(outcome: Result, *, offset: int = 0, job: Job = JOB) -> Incoming:
    return arrive(propose_result(job, "download", outcome, "cause"), offset=offset)


def named(offset: int) -> str:
    return make_record(None, topic=AUDIT, offset=offset).record_id


class Kit:
    """A ledger with its table."""

    def __init__(self, remember_seconds: float = 100.0) -> None:
        self.table: StageTable = make_table(TABLE)
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

    def known(self, request_id: str = "r1") -> Any:
        return read_row(self.table.get(request_id))

    async def run(self, record: Incoming) -> list[Effect]:
        effects = list(await self.ledger.handle(record))
        self.show(effects)
        return effects

    def show(self, effects: Sequence[Effect]) -> None:
        for table in (self.table, self.batch_table):
            show(table, effects)

    def batch(self, batch_id: str = "b1") -> Batch | None:
        return self.batches.known(batch_id)


def result(effects: Sequence[Effect]) -> Result:
    return body_of(only(effects, RESULTS), Result)  # type: ignore[arg-type]


async def test_the_first_outcome_is_the_result_and_is_kept() -> None:
    kit = Kit()
    effects = await kit.run(proposal(done(), offset=4))
    assert result(effects) == done_as(effects)
    (row,) = writes(effects)
    assert (row.table, row.key) == (TABLE, "r1")
    assert decode(row.value or b"", Decided) == Decided(
        record_id=named(4), expires_at=1_100.0, trace_id=TRACE_ID
    )


def done_as(effects: Sequence[Effect]) -> Result:
    found = result(effects)
    return msgspec.structs.replace(done(), finished_at=found.finished_at)


async def test_a_result_tells_request_cause_and_trace() -> None:
    record = proposal(done())
    sent = only(await Kit().run(record), RESULTS)
    assert sent.key == b"r1"
    assert header(sent, "ce_correlationid") == "r1"
    assert header(sent, "ce_causationid") == header(record, "ce_id")
    assert (header(sent, "traceparent") or "")[3:35] == TRACE_ID


OUTCOMES = [
    done(),
    failed(),
    failed(code=ErrorCode.REQUEST_INVALID),
    failed(code=ErrorCode.REQUEST_CANCELLED),
    expired(JOB, "download"),
]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda each: type(each).__name__)
async def test_every_kind_of_outcome_is_published_as_proposed(outcome: Result) -> None:
    sent = only(await Kit().run(proposal(outcome)), RESULTS)
    assert sent.value == encode(outcome)
    status = type(outcome).__name__.lower()
    assert header(sent, "ce_type") == f"io.clipmill.request.{status}.v1"


@pytest.mark.parametrize("transition", ["extracted", "selected", "failed", "retrying"])
async def test_other_news_publish_nothing(transition: Any) -> None:
    record = arrive(audit(JOB, "extraction", transition, "cause", detail={"a": "b"}))
    assert await Kit().run(record) == []


async def test_the_same_record_repeats_the_same_bytes() -> None:
    kit, record = Kit(), proposal(done(), offset=4)
    first = await kit.run(record)
    second = await kit.run(record)
    assert only(second, RESULTS).value == only(first, RESULTS).value
    assert header(only(second, RESULTS), "ce_id") == header(only(first, RESULTS), "ce_id")
    assert not writes(second)


async def test_a_crash_before_the_row_decides_the_same_again() -> None:
    kit, record = Kit(), proposal(done(), offset=4)
    first = await kit.ledger.handle(record)
    kit.clock.now += 30
    second = await kit.ledger.handle(record)
    assert only(first, RESULTS).value == only(second, RESULTS).value


@pytest.mark.parametrize("late", [done(), failed()], ids=["copy", "another outcome"])
async def test_what_comes_later_changes_nothing(late: Result) -> None:
    kit = Kit()
    await kit.run(proposal(done(), offset=4))
    assert await kit.run(proposal(late, offset=5)) == []


async def test_a_record_at_the_same_place_of_an_audit_topic_created_again_is_another() -> None:
    kit = Kit()
    await kit.run(proposal(done(), offset=4))
    later = arrive(
        propose_result(JOB, "download", failed(), "cause"), offset=4, timestamp=WRITTEN + 1
    )
    assert await kit.run(later) == []


async def test_requests_do_not_mix() -> None:
    kit = Kit()
    await kit.run(proposal(done()))
    other = member_job(1)
    effects = await kit.run(proposal(failed(other), offset=1, job=other))
    assert result(effects).request_id == "b1/1"


async def test_a_decided_request_is_forgotten_after_its_time() -> None:
    kit = Kit(remember_seconds=100.0)
    await kit.run(proposal(done()))
    rows = dict(kit.table.items())
    kit.clock.now += 99.9
    assert kit.ledger.forgotten(rows) == []
    kit.clock.now += 0.1
    assert kit.ledger.forgotten(rows) == ["r1"]


def test_too_many_rows_lose_those_that_end_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = {"a": 5_000.0, "b": 3_000.0, "c": 4_000.0}
    rows = {key: encode(Decided(record_id="p", expires_at=end)) for key, end in ends.items()}
    size = len(rows["a"]) + ROW_OVERHEAD_BYTES
    assert Kit().ledger.forgotten(rows) == []
    monkeypatch.setattr(agents.ledger.agent, "ROWS_BYTES_MAX", 2 * size)
    assert Kit().ledger.forgotten(rows) == ["b"]


def test_rows_that_nobody_can_read_are_forgotten() -> None:
    assert Kit().ledger.forgotten({"a": b"\xff"}) == ["a"]


async def test_a_row_that_nobody_can_read_still_decides() -> None:
    kit = Kit()
    kit.table.show(TableWrite(TABLE, "r1", b"\xff"))
    assert await kit.run(proposal(done())) == []


async def test_the_sweep_of_the_stage_deletes_rows() -> None:
    context, _ = make_context(make_settings(), TABLE, batches.TABLE)
    async with opened_stage(ledger_stage, context) as handle:
        table = context.tables[TABLE]
        show(table, await handle(proposal(done())))
        (seconds, sweep), *_ = context.sweeps
        assert seconds == SWEEP_SECONDS
        assert sweep() == []
        row = Decided(record_id="p", expires_at=1.0)
        show(table, [TableWrite(TABLE, "old", encode(row))])
        swept = sweep()
        assert [(each.key, each.value) for each in writes(swept)] == [("old", None)]
        show(table, swept)
        assert table.get("old") is None
        assert table.get("r1") is not None


# Metrics


def counted(status: str, action: str, cache: str) -> float:
    labels = {"status": status, "action": action, "cache": cache}
    return REGISTRY.get_sample_value("clipmill_request_duration_seconds_count", labels) or 0.0


@pytest.mark.parametrize(
    ("outcome", "is_known", "labels"),
    [
        pytest.param(done(), True, ("completed", "info", "hit"), id="from a cache"),
        pytest.param(failed(), True, ("failed", "info", ""), id="no page"),
        pytest.param(done(), False, ("completed", "", "hit"), id="of a request that is not known"),
    ],
)
async def test_the_duration_is_counted_once_by_action_and_use_of_the_cache(
    outcome: Result, is_known: bool, labels: tuple[str, str, str]
) -> None:
    kit, job = Kit(), msgspec.structs.replace(JOB, action="info")
    if is_known:
        await kit.run(arrive(audit(job, "validation", "accepted", "cause")))
    before = counted(*labels)
    await kit.run(proposal(outcome, job=job, offset=8))
    await kit.run(proposal(outcome, job=job, offset=9))
    assert counted(*labels) == before + 1


async def test_a_request_that_is_taken_back_is_counted_by_its_action() -> None:
    kit, job = Kit(), msgspec.structs.replace(JOB, action="list")
    await kit.run(arrive(audit(job, "validation", "accepted", "cause")))
    before = counted("cancelled", "list", "")
    cancel = Cancel(request_id=job.request_id, by="me")
    await kit.run(
        arrive(user_command(cancel, "commands", at=ORDERED, cause="c", trace_id=TRACE_ID), offset=9)
    )
    assert counted("cancelled", "list", "") == before + 1


async def test_open_requests_are_counted_and_results_start_at_zero() -> None:
    context, _ = make_context(make_settings(), TABLE, batches.TABLE)
    async with opened_stage(ledger_stage, context) as handle:
        table = context.tables[TABLE]
        for name in ("a", "b", "c"):
            job = make_job(request_id=name)
            show(table, await handle(arrive(audit(job, "validation", "accepted", "cause"))))
        job = make_job(request_id="a")
        show(table, await handle(proposal(failed(job), job=job, offset=9)))
        count = context.sweeps[-1][1]
        assert count() == ()
    assert REGISTRY.get_sample_value("clipmill_requests_open") == 2
    for status, code in (("completed", ""), ("expired", "request.expired"), *_FAILURES):
        labels = {"status": status, "error_type": code}
        assert REGISTRY.get_sample_value("clipmill_results_total", labels) is not None


_FAILURES = [("failed", code) for code in ErrorCode if not code.startswith("request.")]


# Garbage and bugs

GARBAGE = [None, b"", b"\xff", b"{}", b"null", b'{"request_id":"r1"}', b"[" * 10_000]
HEADERS = [("ce_correlationid", b"r1"), ("traceparent", f"00-{TRACE_ID}-{'1' * 16}-01".encode())]


def body_with(outcome: object) -> bytes:
    entry = decode(proposal(done()).value or b"", dict[str, Any])
    return encode({**entry, "outcome": outcome})


ODD_OUTCOMES = [
    7,
    "completed",
    {},
    [],
    {"status": "x" * 10_000, "trace_id": TRACE_ID},
    {"status": "failed", "trace_id": TRACE_ID, "error": {"error_type": "what.ever"}},
    {"status": "completed", "trace_id": TRACE_ID, "timings": {"a": "b"}},
]


@pytest.mark.parametrize(
    "value", [*GARBAGE, *map(body_with, ODD_OUTCOMES)], ids=lambda v: repr(v)[:40]
)
async def test_what_cannot_be_read_ends_its_request(value: bytes | None) -> None:
    kit = Kit()
    record = make_record(value, topic=AUDIT, headers=HEADERS)
    effects = await kit.run(record)
    assert [each.value for each in dead_letters(effects)] == [value]
    found = result(effects)
    assert isinstance(found, Failed)
    assert (found.request_id, found.trace_id) == ("r1", TRACE_ID)
    assert await kit.run(proposal(done(), offset=99)) == []


async def test_garbage_of_nobody_is_a_dead_letter_only() -> None:
    effects = await Kit().run(make_record(b"\xff", topic=AUDIT))
    assert effects == dead_letters(effects)
    assert len(effects) == 1


async def test_garbage_does_not_change_a_decided_request() -> None:
    kit = Kit()
    await kit.run(proposal(done(), offset=4))
    effects = await kit.run(make_record(b"\xff", topic=AUDIT, headers=HEADERS, offset=5))
    assert effects == dead_letters(effects)
    assert len(effects) == 1


async def test_garbage_read_again_ends_its_request_in_the_same_way() -> None:
    kit = Kit()
    record = make_record(b"\xff", topic=AUDIT, headers=HEADERS)
    first, second = await kit.run(record), await kit.run(record)
    assert only(first, RESULTS).value == only(second, RESULTS).value


def test_a_bug_ends_the_request_and_is_kept() -> None:
    record = proposal(done(), offset=4)
    effects = on_bug(record, RuntimeError("https://h.example/?sig=s3cret"))
    found = result(effects)
    assert isinstance(found, Failed)
    assert found.error.error_type is ErrorCode.INTERNAL_BUG
    assert "s3cret" not in str(found)
    assert [each.value for each in dead_letters(effects)] == [record.value]
    (row,) = writes(effects)
    assert (row.table, row.key) == (TABLE, "r1")
    assert decode(row.value or b"", Decided).record_id == named(4)
    assert BUG_RESULT_TTL_SECONDS > 0


def test_a_bug_that_happens_again_says_the_same() -> None:
    record = proposal(done())
    first, second = (only(on_bug(record, RuntimeError("x")), RESULTS) for _ in range(2))
    assert first.value == second.value


# Requests that have no outcome yet


def accepted(job: Job = JOB, *, offset: int = 0) -> Incoming:
    return arrive(audit(job, "validation", "accepted", "cause"), offset=offset)


async def test_a_request_is_known_from_its_first_record_on() -> None:
    kit = Kit()
    effects = await kit.run(accepted())
    assert effects == writes(effects)
    assert kit.known() == Open(job=essence_of(JOB), expires_at=1_000.0 + OPEN_SECONDS)
    kit.clock.now += 1
    assert await kit.run(accepted(offset=1)) == []


async def test_its_end_is_decided_and_what_it_was_is_kept() -> None:
    kit = Kit()
    await kit.run(accepted())
    await kit.run(proposal(done(), offset=4))
    assert kit.known() == Decided(record_id=named(4), expires_at=1_100.0, job=essence_of(JOB))
    assert await kit.run(accepted(offset=5)) == []


async def test_an_end_that_introduces_its_job_keeps_it() -> None:
    kit = Kit()
    outcome = failed(code=ErrorCode.CONTENT_NOT_FOUND)
    await kit.run(arrive(propose_result(JOB, "validation", outcome, "cause")))
    assert kit.known().job == essence_of(JOB)


@pytest.mark.parametrize("opens", [True, False])
async def test_of_what_was_no_request_nothing_is_kept(opens: bool) -> None:
    kit = Kit()
    if opens:
        await kit.run(accepted())
    outcome = failed(code=ErrorCode.REQUEST_INVALID)
    await kit.run(arrive(propose_result(JOB, "validation", outcome, "cause"), offset=1))
    assert kit.known().job is None


async def test_a_job_without_url_is_not_kept() -> None:
    kit, job = Kit(), make_job(url="")
    outcome = failed(job, ErrorCode.REQUEST_TOO_LARGE)
    await kit.run(arrive(propose_result(job, "validation", outcome, "cause")))
    assert kit.known().job is None


async def test_replays_introduce_themselves_at_every_step() -> None:
    kit, job = Kit(), JOB.replayed(2, JOB.received_at)
    await kit.run(arrive(audit(job, "extraction", "extracted", "cause")))
    assert kit.known("r1/replay-2") == Open(job=essence_of(job), expires_at=1_500.0)


async def test_an_open_request_is_forgotten_after_its_time() -> None:
    kit = Kit()
    await kit.run(accepted())
    kit.clock.now += OPEN_SECONDS - 0.1
    assert kit.ledger.forgotten(dict(kit.table.items())) == []
    kit.clock.now += 0.1
    assert kit.ledger.forgotten(dict(kit.table.items())) == ["r1"]


async def test_garbage_ends_an_open_request() -> None:
    kit = Kit()
    await kit.run(accepted())
    effects = await kit.run(make_record(b"\xff", topic=AUDIT, headers=HEADERS, offset=1))
    assert isinstance(result(effects), Failed)
    assert isinstance(kit.known(), Decided)


async def test_the_stage_knows_open_requests_for_longer_than_they_are_retried() -> None:
    context, _ = make_context(make_settings(retry={"total_seconds": 50}), TABLE, batches.TABLE)
    async with opened_stage(ledger_stage, context) as handle:
        (row,) = writes(await handle(accepted()))
    left = decode(row.value or b"", Open).expires_at - time.time()
    assert left == pytest.approx(50 + LATE_SECONDS, abs=10)


# Batches

FIRST = member_job(0, 3)


async def test_the_first_member_makes_its_batch_known() -> None:
    kit = Kit()
    effects = await kit.run(accepted(FIRST))
    assert set(dict(kit.table.items())) == {"b1/0"}
    told = only(effects, AUDIT)
    assert told.key == b"b1"
    effects = await kit.run(arrive(told, offset=1))
    assert kit.batch() == batch_of_job(FIRST).expires(1_500.0)
    assert kit.known("b1") is None
    assert await kit.run(arrive(told, offset=2)) == []


async def test_it_does_so_again_after_a_crash_and_with_its_end() -> None:
    kit = Kit()
    first = await kit.run(accepted(FIRST))
    again = await kit.run(accepted(FIRST))
    assert only(again, AUDIT).value == only(first, AUDIT).value
    ended_at_once = arrive(propose_result(FIRST, "validation", failed(FIRST), "cause"), offset=3)
    for _ in range(2):
        introduction, _ = sent_to(await kit.run(ended_at_once), AUDIT)
        assert introduction.value == only(first, AUDIT).value


async def test_other_members_do_not() -> None:
    effects = await Kit().run(accepted(member_job(1, 3)))
    assert not sent_to(effects, AUDIT)


async def test_a_request_of_a_batch_s_name_is_a_request_beside_the_batch() -> None:
    kit = Kit()
    await kit.run(arrive(introduce_batch(FIRST, "ledger", "cause")))
    job = make_job(request_id="b1")
    await kit.run(accepted(job, offset=1))
    assert kit.known("b1") == Open(job=essence_of(job), expires_at=1_500.0)
    await kit.run(arrive(introduce_batch(FIRST, "ledger", "cause"), offset=2))
    assert isinstance(kit.known("b1"), Open)
    assert kit.batch() == batch_of_job(FIRST).expires(1_500.0)


async def test_garbage_under_the_name_of_a_batch_does_not_end_it() -> None:
    kit = Kit()
    await kit.run(arrive(introduce_batch(FIRST, "ledger", "cause")))
    headers = [("ce_correlationid", b"b1")]
    effects = await kit.run(make_record(b"\xff", topic=AUDIT, headers=headers, offset=1))
    assert effects == dead_letters(effects)
    assert len(effects) == 1


# Orders


def ordered(command: Cancel | Retry, *, offset: int = 7) -> Incoming:
    sent = user_command(command, "commands", at=ORDERED, cause="c1", trace_id=TRACE_ID)
    return arrive(sent, offset=offset)


def cancel(request_id: str = "r1", **more: Any) -> Incoming:
    return ordered(Cancel(id="c1", request_id=request_id, by="ann"), **more)


def retry(request_id: str = "r1", *, offset: int = 7, **more: Any) -> Incoming:
    command = Retry(id="c1", new_id="n1", request_id=request_id, by="ann", **more)
    return ordered(command, offset=offset)


def refusal(effects: Sequence[Effect]) -> Rejected:
    found = outcome_of(effects)
    assert isinstance(found, Rejected)
    assert found.error.technical_details["field"] == "$.request_id"
    return found


async def test_an_open_request_is_cancelled_at_once() -> None:
    kit, job = Kit(), make_job(attributes={"a": "b"}, retry_of="r0")
    await kit.run(accepted(job))
    effects = await kit.run(cancel())
    found = result(effects)
    assert isinstance(found, Cancelled)
    assert (found.request_id, found.url, found.finished_at) == ("r1", URL, ORDERED)
    assert (found.attributes, found.retry_of, found.trace_id) == ({"a": "b"}, "r0", TRACE_ID)
    assert found.error.technical_details == {"by": "ann"}
    assert found.error.recovery_options == ("clipmill retry r1",)
    assert kit.known() == Decided(
        record_id=named(7), expires_at=1_100.0, job=essence_of(job), status="cancelled"
    )


async def test_a_member_that_is_cancelled_says_which_it_is() -> None:
    kit = Kit()
    await kit.run(accepted(member_job(2, 3)))
    found = result(await kit.run(cancel("b1/2")))
    assert (found.batch_id, found.batch_index, found.batch_size) == ("b1", 2, 3)


async def test_a_cancellation_that_is_read_again_says_the_same() -> None:
    kit = Kit()
    await kit.run(accepted())
    before_the_row = await kit.ledger.handle(cancel())
    kit.clock.now += 30
    first = await kit.run(cancel())
    kit.clock.now += 30
    after_the_row = await kit.run(cancel())
    bodies = {only(each, RESULTS).value for each in (before_the_row, first, after_the_row)}
    assert len(bodies) == 1
    assert not writes(after_the_row)


async def test_what_steps_say_of_a_cancelled_request_comes_too_late() -> None:
    kit = Kit()
    await kit.run(accepted())
    await kit.run(cancel())
    for offset, late in enumerate((done(), failed(code=ErrorCode.REQUEST_CANCELLED)), start=8):
        assert await kit.run(proposal(late, offset=offset)) == []


async def test_a_request_that_has_ended_is_not_cancelled() -> None:
    kit = Kit()
    await kit.run(accepted())
    await kit.run(proposal(done(), offset=4))
    assert await kit.run(cancel(offset=5)) == []


@pytest.mark.parametrize("request_id", ["r1", "b1/77"])
async def test_a_cancellation_of_what_is_not_known_is_answered(request_id: str) -> None:
    found = refusal(await Kit().run(cancel(request_id)))
    assert found.request_id == "c1"
    assert request_id in found.error.user_message


async def test_a_batch_is_cancelled_member_by_member() -> None:
    kit = Kit()
    for index in range(3):
        await kit.run(accepted(member_job(index, 4), offset=index))
    await kit.run(arrive(introduce_batch(member_job(0, 4), "ledger", "cause"), offset=8))
    parts = sent_to(await kit.run(cancel("b1", offset=9)), AUDIT)
    assert [each.key for each in parts] == [b"b1/0", b"b1/1", b"b1/2", b"b1/3"]
    assert len({header(each, "ce_id") for each in parts}) == 4
    results = [await kit.run(arrive(each, offset=10 + n)) for n, each in enumerate(parts)]
    assert [result(each).request_id for each in results[:3]] == ["b1/0", "b1/1", "b1/2"]
    assert results[3] == [], "a member of which nothing is known yet is nobody's error"


async def test_the_members_of_a_listing_are_cancelled_with_it() -> None:
    kit, job = Kit(), make_job(options=Options(limit=2))
    await kit.run(accepted(job))
    listing = Listing(platform="tiktok", kind="profile", id="a", url=URL)
    outcome = listed(job, listing, cache="miss", engine=ENGINE, members=2)
    await kit.run(proposal(outcome, offset=1, job=job))
    places = (BatchMember(id="r1", index=index, size=2) for index in range(2))
    members = [make_job(request_id=f"r1/{each.index}", batch=each) for each in places]
    for offset, member in enumerate(members, start=2):
        await kit.run(arrive(audit(member, "extraction", "accepted", "cause"), offset=offset))
    parts = sent_to(await kit.run(cancel(offset=9)), AUDIT)
    assert [each.key for each in parts] == [b"r1/0", b"r1/1"]
    ends = [result(await kit.run(arrive(each, offset=10 + n))) for n, each in enumerate(parts)]
    assert all(isinstance(each, Cancelled) for each in ends)


async def test_the_first_member_of_a_listing_does_not_undo_its_outcome() -> None:
    kit, job = Kit(), make_job(options=Options(limit=1))
    await kit.run(accepted(job))
    listing = Listing(platform="tiktok", kind="profile", id="a", url=URL)
    await kit.run(proposal(listed(job, listing, cache="miss", engine=ENGINE, members=1), job=job))
    before = kit.known()
    first = make_job(request_id="r1/0", batch=BatchMember(id="r1", index=0, size=1))
    effects = await kit.run(arrive(audit(first, "extraction", "accepted", "cause"), offset=2))
    for offset, each in enumerate(sent_to(effects, AUDIT), start=3):
        await kit.run(arrive(each, offset=offset))
    assert kit.known() == before


async def test_a_request_that_has_ended_is_asked_for_again() -> None:
    kit = Kit()
    job = make_job(
        options=Options(quality="1080p", codec="h264"),
        action="info",
        priority=7,
        attributes={"a": "b"},
        deadline=FUTURE,
    )
    await kit.run(accepted(job))
    await kit.run(proposal(failed(job), offset=4, job=job))
    effects = await kit.run(retry(options=OptionChanges(quality="480p", watermark="allow")))
    assert len(effects) == 1
    sent = only(effects, REQUESTS)
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


async def test_a_retry_is_a_request_to_validation() -> None:
    kit = Kit()
    await kit.run(accepted())
    await kit.run(proposal(done(), offset=4))
    record = arrive(only(await kit.run(retry()), REQUESTS))
    envelope = open_envelope(record)
    (job,) = jobs_of(read_request(envelope), envelope, record)
    assert (job.request_id, job.retry_of, job.url, job.batch) == ("n1", "r1", URL, None)


async def test_a_member_is_repeated_as_a_single_request() -> None:
    kit, member = Kit(), member_job(2, 3)
    await kit.run(accepted(member))
    await kit.run(proposal(failed(member), offset=4, job=member))
    asked = body_of(only(await kit.run(retry("b1/2")), REQUESTS), Request)
    assert (asked.id, asked.url, asked.urls, asked.retry_of) == ("n1", URL, None, "b1/2")


async def test_an_order_that_is_read_again_asks_for_the_same() -> None:
    kit = Kit()
    await kit.run(accepted())
    await kit.run(proposal(done(), offset=4))
    first, second = [only(await kit.run(retry()), REQUESTS) for _ in range(2)]
    assert (first.key, first.value) == (second.key, second.value)
    assert header(first, "ce_id") == header(second, "ce_id")


async def known_state(kit: Kit, state: str) -> None:
    match state:
        case "open":
            await kit.run(accepted())
        case "batch":
            place = BatchMember(id="r1", index=0, size=3)
            first = make_job(request_id="r1/0", batch=place)
            await kit.run(arrive(introduce_batch(first, "ledger", None)))
        case "refused":
            await kit.run(proposal(failed(code=ErrorCode.REQUEST_INVALID)))
        case "unreadable":
            kit.table.show(TableWrite(TABLE, "r1", b"\xff"))


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("unknown", "nothing is known of r1"),
        ("open", "r1 is still under way; cancel it first"),
        ("batch", "retry its members, r1/0 to r1/2"),
        ("refused", "submit it anew"),
        ("unreadable", "submit it anew"),
    ],
)
async def test_what_cannot_be_repeated_is_refused_under_the_new_name(state: str, why: str) -> None:
    kit = Kit()
    await known_state(kit, state)
    effects = await kit.run(retry())
    assert len(effects) == 1
    assert only(effects, AUDIT).key == b"n1"
    found = refusal(effects)
    assert (found.request_id, found.retry_of) == ("n1", "r1")
    assert why in found.error.user_message


async def test_a_refusal_becomes_a_result_and_stays_the_only_one() -> None:
    kit = Kit()
    await kit.run(accepted())
    refused = only(await kit.run(retry()), AUDIT)
    assert isinstance(result(await kit.run(arrive(refused, offset=8))), Rejected)
    await kit.run(proposal(done(), offset=9))
    assert sent_to(await kit.run(retry(offset=10)), REQUESTS), "a copy comes when it can be done"
    again = make_job(request_id="n1")
    assert await kit.run(accepted(again, offset=11)) == []
    assert await kit.run(proposal(done(again), offset=12, job=again)) == []


@pytest.mark.parametrize("step", ["commands", "ledger"])
@pytest.mark.parametrize("state", ["open", "batch"])
async def test_a_refused_order_ends_no_request_of_its_name(step: str, state: str) -> None:
    kit = Kit()
    await known_state(kit, state)
    before = (kit.known(), kit.batch("r1"))
    refused = propose_result(JOB, step, failed(code=ErrorCode.REQUEST_INVALID), None)
    assert not sent_to(await kit.run(arrive(refused, offset=9)), RESULTS)
    assert (kit.known(), kit.batch("r1")) == before


async def test_an_order_is_told_by_the_ledger_to_nobody_else() -> None:
    record = cancel()
    entry = decode(record.value or b"", AuditRecord)
    assert entry.detail == {"command": "cancel", "by": "ann"}
    assert (entry.step, entry.transition, entry.at) == ("commands", "ordered", ORDERED)


@pytest.mark.parametrize(
    ("record", "answered"),
    [(cancel(), "c1"), (retry(), "n1"), (ordered(Cancel(request_id="r1")), None)],
    ids=["cancel", "retry", "part of a batch's"],
)
def test_a_bug_at_an_order_ends_no_request(record: Incoming, answered: str | None) -> None:
    effects = on_bug(record, RuntimeError("x"))
    assert len(dead_letters(effects)) == 1
    assert not writes(effects)
    assert not sent_to(effects, RESULTS)
    answers = [outcome_of([each]) for each in sent_to(effects, AUDIT)]
    assert [each.request_id for each in answers] == ([answered] if answered else [])
    assert all(each.error.error_type is ErrorCode.INTERNAL_BUG for each in answers)


# Any order of news, with a crash at any place


class Requests(RuleBasedStateMachine):
    """One partition of the audit topic, read with crashes; three requests and their retries."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Incoming] = []
        self.committed = 0
        self.published: dict[str, set[bytes]] = {}
        self.proposed: set[str] = set()
        self.kit = Kit(remember_seconds=1e9)

    def _append(self, record: Outgoing) -> None:
        self.log.append(arrive(record, offset=len(self.log)))

    @rule(request=st.sampled_from("abc"), code=st.sampled_from(ErrorCode))
    def propose_failure(self, request: str, code: ErrorCode) -> None:
        job = make_job(request_id=request)
        self._append(propose_result(job, "extraction", failed(job, code), "cause"))

    @rule(request=st.sampled_from("abc"))
    def propose_success(self, request: str) -> None:
        job = make_job(request_id=request)
        self._append(propose_result(job, "download", done(job), "cause"))

    @rule(request=st.sampled_from("abc"))
    def tell_news(self, request: str) -> None:
        self._append(audit(make_job(request_id=request), "extraction", "accepted", None))

    @rule(request=st.sampled_from("abc"))
    def accept(self, request: str) -> None:
        self._append(audit(make_job(request_id=request), "validation", "accepted", None))

    @rule(request=st.sampled_from("abc"))
    def cancel(self, request: str) -> None:
        self._order(Cancel(id=f"c{len(self.log)}", request_id=request))

    @rule(request=st.sampled_from("abc"), new_id=st.sampled_from("xyz"))
    def retry(self, request: str, new_id: str) -> None:
        self._order(Retry(id=f"c{len(self.log)}", request_id=request, new_id=new_id))

    def _order(self, command: Cancel | Retry) -> None:
        sent = user_command(
            command, "commands", at=ORDERED, cause=command.id or "", trace_id=TRACE_ID
        )
        self._append(sent)

    @rule(request=st.sampled_from("abc"))
    def write_garbage(self, request: str) -> None:
        headers = (("ce_correlationid", request.encode()),)
        self._append(Outgoing(AUDIT, request.encode(), b"\xff", headers))

    @rule(seconds=st.floats(0, 1_000))
    def wait(self, seconds: float) -> None:
        self.kit.clock.now += seconds

    @rule(count=st.integers(0, 5), kept=st.sets(st.integers(0, 2)), commits=st.booleans())
    def read(self, count: int, kept: set[int], commits: bool) -> None:
        """Handle some records; of the last one's effects only some arrive before a crash."""
        batch = self.log[self.committed : self.committed + count]
        for record in batch:
            effects = _now(self.kit.ledger.handle(record))
            last = record is batch[-1]
            arrived = [each for place, each in enumerate(effects) if place in kept]
            self._write(arrived if last and not commits else effects)
        if commits:
            self.committed += len(batch)
            self.proposed |= {_owner(each) for each in batch if _ends(each)}

    def _write(self, effects: Sequence[Effect]) -> None:
        self.kit.show(effects)
        for sent in sent_to(effects, RESULTS):
            key = (sent.key or b"").decode()
            self.published.setdefault(key, set()).add(sent.value or b"")
        for sent in sent_to(effects, AUDIT):
            self._append(sent)
        for sent in sent_to(effects, REQUESTS):
            job = make_job(request_id=body_of(sent, Request).id)
            self._append(audit(job, "validation", "accepted", None))
            self._append(propose_result(job, "download", done(job), "cause"))

    @invariant()
    def nobody_hears_two_stories(self) -> None:
        assert all(len(bodies) == 1 for bodies in self.published.values())

    @invariant()
    def everybody_hears_one(self) -> None:
        assert self.proposed <= set(self.published)


def _ends(record: Incoming) -> bool:
    return b'"finished"' in (record.value or b"") or record.value == b"\xff"


def _owner(record: Incoming) -> str:
    return (record.key or b"").decode()


def _now(work: Any) -> Sequence[Effect]:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        effects: Sequence[Effect] = done.value
        return effects
    raise AssertionError("the ledger waits for nothing")


TestRequests = Requests.TestCase
TestRequests.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
