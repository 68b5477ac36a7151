"""Completion of batches: members in any order, redelivery, crashes and lost rows."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import agents.ledger.batches as module
from agents.ledger import batches
from agents.ledger.agent import Ledger
from agents.ledger.batch_state import Batch
from agents.ledger.batches import Batches, expire_batch
from agents.ledger.bug_report import on_bug
from agents.ledger.events import TABLE
from agents.pipeline.events import audit, propose_result, user_command
from agents.pipeline.results import completed, error_result
from schemas.audit import AuditRecord
from schemas.codec import decode
from schemas.commands import Cancel
from schemas.error_catalog import explain
from schemas.errors import ErrorCode
from schemas.job import BatchMember, Job
from schemas.results import BatchCounts, BatchFinished, Result
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.topics import AUDIT, RESULTS
from tests.unit.agents.builders import (
    ENGINE,
    INFO,
    TRACE_ID,
    URL,
    WRITTEN_AT,
    Clock,
    apply_writes,
    as_incoming,
    body_of,
    dead_letters,
    header,
    make_job,
    make_record,
    make_table,
    only_record,
    sent_to,
    writes,
)
from tests.unit.agents.caching.slices import effects_in

pytestmark = pytest.mark.untraced

OPEN_SECONDS, REMEMBER_SECONDS = 500.0, 100.0

STATUS_CODES: dict[str, ErrorCode | None] = {
    "completed": None,
    "failed": ErrorCode.CONTENT_NOT_FOUND,
    "rejected": ErrorCode.REQUEST_INVALID,
    "expired": ErrorCode.REQUEST_EXPIRED,
    "cancelled": ErrorCode.REQUEST_CANCELLED,
}


def member(index: int, size: int = 3, batch_id: str = "b", **changes: Any) -> Job:
    batch = BatchMember(id=batch_id, index=index, size=size)
    return make_job(request_id=f"{batch_id}/{index}", batch=batch, **changes)


def outcome(job: Job, status: str = "completed", after: int = 0) -> Result:
    code = STATUS_CODES[status]
    if code is None:
        result: Result = completed(job, INFO, cache="hit", engine=ENGINE)
    else:
        result = error_result(job, explain(code, operation="extraction", url=URL))
    return msgspec.structs.replace(result, finished_at=WRITTEN_AT + timedelta(seconds=after))


class LedgerLogHarness:
    """A ledger over one log of the audit topic: what it publishes there, it consumes next."""

    def __init__(self) -> None:
        self.table, self.batch_table = make_table(TABLE), make_table(batches.TABLE)
        self.clock = Clock(WRITTEN_AT.timestamp())
        self.batches = Batches(
            self.batch_table.get,
            open_seconds=OPEN_SECONDS,
            remember_seconds=REMEMBER_SECONDS,
            clock=self.clock,
        )
        self.ledger = Ledger(
            self.table.get,
            self.batches,
            open_seconds=OPEN_SECONDS,
            remember_seconds=1e9,
            clock=self.clock,
        )
        self.log: list[Incoming] = []
        self.committed = 0
        self.published: list[Outgoing] = []

    def append(self, *records: Outgoing) -> None:
        for record in records:
            self.log.append(as_incoming(record, offset=len(self.log)))

    def write(self, effects: Sequence[Effect]) -> None:
        for table in (self.table, self.batch_table):
            apply_writes(table, effects)
        self.append(*sent_to(effects, AUDIT))
        self.published += sent_to(effects, RESULTS)

    async def run(self) -> None:
        """Handle the log up to its end."""
        while self.committed < len(self.log):
            self.write(self.ledger.handle(self.log[self.committed]))
            self.committed += 1

    async def decide(self, job: Job, status: str = "completed", after: int = 0) -> None:
        self.append(propose_result(job, "download", outcome(job, status, after), "cause"))
        await self.run()

    def sweep(self) -> list[Effect]:
        effects = effects_in(self.batches.sweep(self.batch_table.slices))
        self.write(effects)
        return effects

    def summaries(self, batch_id: str = "b") -> list[BatchFinished]:
        bodies = (each.value or b"" for each in self.published if each.key == batch_id.encode())
        return [decode(body, BatchFinished) for body in bodies]

    def batch(self, batch_id: str = "b") -> Batch | None:
        return self.batches.get(batch_id)


async def test_last_member_completes_the_batch_with_one_summary() -> None:
    ledger = LedgerLogHarness()
    for index, status in enumerate(["failed", "completed"]):
        await ledger.decide(member(index, attributes={"a": "b"}, retry_of="old"), status, index)
    assert ledger.summaries() == []
    await ledger.decide(member(2, attributes={"a": "b"}, retry_of="old"), "completed", 1)
    assert ledger.summaries() == [
        BatchFinished(
            request_id="b",
            batch_size=3,
            counts=BatchCounts(completed=2, failed=1),
            received_at=WRITTEN_AT,
            finished_at=WRITTEN_AT + timedelta(seconds=1),
            trace_id=TRACE_ID,
            attributes={"a": "b"},
            retry_of="old",
        )
    ]


async def test_summary_is_published_as_a_result_of_the_batch() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0, size=1))
    _, summary = ledger.published
    assert (summary.topic, summary.key) == (RESULTS, b"b")
    assert header(summary, "ce_type") == "io.clipmill.batch.finished.v1"
    assert header(summary, "ce_id") == "b:batch.finished.v1"
    assert header(summary, "ce_correlationid") == "b"
    assert (header(summary, "traceparent") or "")[3:35] == TRACE_ID


@pytest.mark.parametrize("status", STATUS_CODES)
async def test_every_status_is_counted(status: str) -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0, size=1), status)
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(**{status: 1})


async def test_cancelled_batch_completes_with_its_last_member() -> None:
    ledger = LedgerLogHarness()
    for index in range(3):
        ledger.append(audit(member(index), "validation", "accepted", "cause"))
    await ledger.run()
    await ledger.decide(member(1))
    command = Cancel(id="c1", request_id="b")
    ledger.append(user_command(command, "commands", at=WRITTEN_AT, cause="c1", trace_id=TRACE_ID))
    await ledger.run()
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=1, cancelled=2)


async def test_member_that_ends_by_a_bug_is_counted() -> None:
    ledger = LedgerLogHarness()
    ledger.append(audit(member(0, size=2), "validation", "accepted", "cause"))
    await ledger.decide(member(1, size=2))
    headers = [("ce_correlationid", b"b/0")]
    ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers, offset=len(ledger.log)))
    await ledger.run()
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=1, failed=1)


async def test_undecodable_member_is_counted_before_its_batch_is_known() -> None:
    ledger = LedgerLogHarness()
    headers = [("ce_correlationid", b"b/0")]
    ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers))
    await ledger.run()
    await ledger.decide(member(1, size=2, attributes={"a": "b"}))
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=1, failed=1)
    assert summary.attributes == {"a": "b"}


async def test_introduction_completes_a_batch_of_unknown_size() -> None:
    ledger = LedgerLogHarness()
    for index in range(2):
        headers = [("ce_correlationid", f"b/{index}".encode())]
        ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers, offset=index))
    await ledger.run()
    assert ledger.summaries() == []
    ledger.append(audit(member(0, size=2), "validation", "accepted", "cause"))
    await ledger.run()
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(failed=2)


async def test_replayed_members_are_not_counted_again() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0, size=2), "failed")
    await ledger.decide(member(0, size=2).as_replay(1, WRITTEN_AT))
    assert ledger.summaries() == []
    await ledger.decide(member(1, size=2))
    assert [each.counts for each in ledger.summaries()] == [BatchCounts(completed=1, failed=1)]
    await ledger.decide(member(1, size=2).as_replay(1, WRITTEN_AT), "failed")
    assert len(ledger.summaries()) == 1


async def test_replayed_first_member_does_not_reopen_an_expired_batch() -> None:
    ledger = LedgerLogHarness()
    replay = member(0).as_replay(1, WRITTEN_AT)
    ledger.append(audit(replay, "validation", "accepted", "cause"))
    await ledger.decide(replay)
    assert ledger.batch() is None


async def test_duplicate_batch_completes_once() -> None:
    ledger = LedgerLogHarness()
    for _ in range(2):
        for index in range(3):
            ledger.append(audit(member(index), "validation", "accepted", "cause"))
            await ledger.decide(member(index))
    assert len(ledger.summaries()) == 1


async def test_larger_of_two_batches_with_one_id_is_awaited() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0, size=2))
    await ledger.decide(member(2, size=3))
    assert ledger.summaries() == []
    await ledger.decide(member(1, size=2))
    (summary,) = ledger.summaries()
    assert (summary.batch_size, summary.counts) == (3, BatchCounts(completed=3))


async def test_redelivered_closing_record_publishes_the_same_summary() -> None:
    ledger = LedgerLogHarness()
    for index in range(3):
        await ledger.decide(member(index))
    closing = ledger.log[-1]
    for earlier in ledger.log[:-1]:
        again = ledger.ledger.handle(earlier)
        assert not [each for each in sent_to(again, RESULTS) if each.key == b"b"]
    ledger.clock.now += 30
    again = ledger.ledger.handle(closing)
    assert not writes(again)
    (first,) = [each for each in ledger.published if each.key == b"b"]
    assert only_record(again, RESULTS).value == first.value


async def test_redelivered_deciding_record_publishes_the_same_report() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(1))
    deciding, report = ledger.log
    again = only_record(ledger.ledger.handle(deciding), AUDIT)
    assert again.value == report.value
    copy = make_record(deciding.value, topic=AUDIT, headers=list(deciding.headers), offset=99)
    assert ledger.ledger.handle(copy) == []


async def test_crash_before_the_row_publishes_the_same_summary() -> None:
    ledger = LedgerLogHarness()
    for index in range(2):
        await ledger.decide(member(index))
    ledger.append(propose_result(member(2), "download", outcome(member(2)), "cause"))
    ledger.write(ledger.ledger.handle(ledger.log[ledger.committed]))
    report = ledger.log[-1]
    first = only_record(ledger.ledger.handle(report), RESULTS)
    ledger.clock.now += 30
    assert only_record(ledger.ledger.handle(report), RESULTS).value == first.value


async def test_duplicate_of_the_last_report_publishes_nothing() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0, size=1))
    copy = make_record(
        ledger.log[-1].value, topic=AUDIT, headers=list(ledger.log[-1].headers), offset=99
    )
    assert ledger.ledger.handle(copy) == []


async def test_row_of_1000_members_is_small() -> None:
    ledger = LedgerLogHarness()
    for index in range(999):
        await ledger.decide(member(index, size=1_000))
    assert ledger.summaries() == []
    assert len(ledger.batch_table.get("b") or b"") < 500
    await ledger.decide(member(999, size=1_000), "failed")
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=999, failed=1)


@pytest.mark.parametrize("index", [3, 999])
async def test_index_outside_the_batch_is_not_counted(index: int) -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0))
    await ledger.decide(member(index))
    batch = ledger.batch()
    assert batch is not None
    assert batch.members_decided == 1


def test_bug_at_a_batch_record_ends_nothing() -> None:
    ledger = LedgerLogHarness()
    job = member(0, size=1)
    report = as_incoming(
        expire_batch("b", 1.0, TRACE_ID, "ledger", WRITTEN_AT),
    )
    for record in (report, as_incoming(_report(ledger, job))):
        effects = on_bug(record, RuntimeError("x"))
        assert effects == dead_letters(effects)
        assert len(effects) == 1


def _report(ledger: LedgerLogHarness, job: Job) -> Outgoing:
    record = as_incoming(propose_result(job, "download", outcome(job), "cause"))
    return sent_to(ledger.ledger.handle(record), AUDIT)[-1]


# Expiry of rows


async def test_closed_batch_expires() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0, size=1))
    ledger.clock.now += REMEMBER_SECONDS - 0.1
    assert ledger.sweep() == []
    ledger.clock.now += 0.1
    ledger.sweep()
    assert ledger.batch() is None


async def test_each_member_extends_the_expiry_of_an_open_batch() -> None:
    ledger = LedgerLogHarness()
    for index in range(2):
        await ledger.decide(member(index))
        ledger.clock.now += OPEN_SECONDS - 0.1
        assert ledger.sweep() == []
    ledger.clock.now += 0.1
    assert sent_to(ledger.sweep(), AUDIT)


async def test_expired_batch_completes_with_undecided_members() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0))
    await ledger.decide(member(2), "failed")
    ledger.clock.now += OPEN_SECONDS
    for _ in range(2):
        ledger.sweep()
    await ledger.run()
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=1, failed=1, undecided=1)
    assert summary.finished_at == WRITTEN_AT + timedelta(seconds=OPEN_SECONDS)
    await ledger.decide(member(1))
    assert len(ledger.summaries()) == 1
    ledger.clock.now += REMEMBER_SECONDS
    ledger.sweep()
    assert ledger.batch() is None


async def test_member_before_the_closing_record_keeps_the_batch_open() -> None:
    ledger = LedgerLogHarness()
    await ledger.decide(member(0))
    ledger.clock.now += OPEN_SECONDS
    closing = sent_to(effects_in(ledger.batches.sweep(ledger.batch_table.slices)), AUDIT)
    await ledger.decide(member(1))
    ledger.append(*closing)
    await ledger.run()
    assert ledger.summaries() == []
    await ledger.decide(member(2))
    assert [each.counts for each in ledger.summaries()] == [BatchCounts(completed=3)]


async def test_batch_of_unknown_size_expires_without_a_summary() -> None:
    ledger = LedgerLogHarness()
    headers = [("ce_correlationid", b"b/0")]
    ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers))
    await ledger.run()
    ledger.clock.now += OPEN_SECONDS
    assert [(each.key, each.value) for each in writes(ledger.sweep())] == [("b", None)]


async def test_batches_above_the_byte_limit_are_closed_by_expiry(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = LedgerLogHarness()
    for batch_id in ("x", "y"):
        await ledger.decide(member(0, size=2, batch_id=batch_id))
        ledger.clock.now += 1
    monkeypatch.setattr(module, "ROWS_BYTES_MAX", 600)
    (effect,) = ledger.sweep()
    assert body_of(effect, AuditRecord).request_id == "x"
    await ledger.run()
    (summary,) = ledger.summaries("x")
    assert summary.counts == BatchCounts(completed=1, undecided=1)


def test_undecodable_row_is_deleted() -> None:
    ledger = LedgerLogHarness()
    apply_writes(ledger.batch_table, [TableWrite(batches.TABLE, "b", b"\xff")])
    assert ledger.batch() is None
    assert [(each.key, each.value) for each in writes(ledger.sweep())] == [("b", None)]


# Model: records in any order, with a crash at any point

SIZES = {"p": 1, "q": 2, "r": 4}


class BatchMachine(RuleBasedStateMachine):
    """Members of three batches in one partition, handled with crashes."""

    @initialize()
    def start(self) -> None:
        self.ledger = LedgerLogHarness()

    @rule(
        batch_id=st.sampled_from("pqr"),
        index=st.integers(0, 3),
        status=st.sampled_from(list(STATUS_CODES)),
        after=st.integers(0, 9),
    )
    def decide(self, batch_id: str, index: int, status: str, after: int) -> None:
        job = member(index % SIZES[batch_id], SIZES[batch_id], batch_id)
        self.ledger.append(propose_result(job, "download", outcome(job, status, after), "cause"))

    @rule(batch_id=st.sampled_from("pqr"), index=st.integers(0, 3))
    def accept(self, batch_id: str, index: int) -> None:
        job = member(index % SIZES[batch_id], SIZES[batch_id], batch_id)
        self.ledger.append(audit(job, "validation", "accepted", "cause"))

    @rule(batch_id=st.sampled_from("pqr"))
    def cancel(self, batch_id: str) -> None:
        command = Cancel(request_id=batch_id)
        sent = user_command(command, "commands", at=WRITTEN_AT, cause="c", trace_id=TRACE_ID)
        self.ledger.append(sent)

    @rule(batch_id=st.sampled_from("pqr"), index=st.integers(0, 3))
    def publish_undecodable(self, batch_id: str, index: int) -> None:
        name = f"{batch_id}/{index % SIZES[batch_id]}".encode()
        self.ledger.append(Outgoing(AUDIT, name, b"\xff", (("ce_correlationid", name),)))

    @rule(seconds=st.floats(0, OPEN_SECONDS / 30))
    def wait(self, seconds: float) -> None:
        self.ledger.clock.now += seconds

    @rule(batch_id=st.sampled_from("pqr"))
    def decide_all(self, batch_id: str) -> None:
        for index in range(SIZES[batch_id]):
            self.decide(batch_id, index, "completed", index)

    @rule(count=st.integers(1, 6))
    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.ledger.log) - self.ledger.committed)):
            self.ledger.write(self._handle(self.ledger.committed))
            self.ledger.committed += 1

    @rule(
        ahead=st.integers(0, 3), delivered=st.sampled_from([(), (0,), (1,), (0, 1), (0, 2), (1, 2)])
    )
    def crash(self, ahead: int, delivered: tuple[int, ...]) -> None:
        """Handle records without a commit; only some effects of the last one are delivered."""
        first = self.ledger.committed
        last = min(first + ahead, len(self.ledger.log) - 1)
        for offset in range(first, last):
            self.ledger.write(self._handle(offset))
        if first <= last:
            effects = self._handle(last)
            self.ledger.write([each for index, each in enumerate(effects) if index in delivered])

    def _handle(self, offset: int) -> Sequence[Effect]:
        return self.ledger.ledger.handle(self.ledger.log[offset])

    @invariant()
    def batch_has_at_most_one_correct_summary(self) -> None:
        for batch_id, size in SIZES.items():
            bodies = {each.value for each in self.ledger.published if each.key == batch_id.encode()}
            assert len(bodies) <= 1
            for body in bodies:
                counts = decode(body or b"", BatchFinished).counts
                assert counts == self._counted(batch_id)
                assert sum(_values(counts)) == size

    def _counted(self, batch_id: str) -> BatchCounts:
        statuses: dict[str, str] = {}
        for each in self.ledger.published:
            name = (each.key or b"").decode()
            if name.startswith(f"{batch_id}/"):
                statuses[name] = (header(each, "ce_type") or "").split(".")[3]
        found = list(statuses.values())
        return BatchCounts(**{status: found.count(status) for status in set(found)})

    def teardown(self) -> None:
        """Introduce each batch and drain the log: no summary of a complete batch is missing."""
        ledger = self.ledger
        for batch_id in SIZES:
            self.accept(batch_id, 0)
        while ledger.committed < len(ledger.log):
            self.read(1)
        self.batch_has_at_most_one_correct_summary()
        for batch_id, size in SIZES.items():
            decided = sum(_values(self._counted(batch_id)))
            assert (len(ledger.summaries(batch_id)) > 0) == (decided == size), batch_id


def _values(counts: BatchCounts) -> list[int]:
    return [getattr(counts, name) for name in counts.__struct_fields__]


TestBatchModel = BatchMachine.TestCase
TestBatchModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
