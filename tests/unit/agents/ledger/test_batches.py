"""The end of batches, as the ledger sees it: members in any order, copies, crashes, lost rows."""

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
from agents.ledger.batch_records import expire_batch
from agents.ledger.batch_state import Batch
from agents.ledger.batches import Batches
from agents.ledger.bug_report import on_bug
from agents.ledger.events import TABLE
from agents.pipeline.events import audit, propose_result, user_command
from agents.pipeline.results import completed, ended
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
    arrive,
    body_of,
    dead_letters,
    header,
    make_job,
    make_record,
    make_table,
    only,
    sent_to,
    show,
    writes,
)

pytestmark = pytest.mark.untraced

OPEN_SECONDS, REMEMBER_SECONDS = 500.0, 100.0

ENDS: dict[str, ErrorCode | None] = {
    "completed": None,
    "failed": ErrorCode.CONTENT_NOT_FOUND,
    "rejected": ErrorCode.REQUEST_INVALID,
    "expired": ErrorCode.REQUEST_EXPIRED,
    "cancelled": ErrorCode.REQUEST_CANCELLED,
}


def member(index: int, size: int = 3, batch_id: str = "b", **changes: Any) -> Job:
    place = BatchMember(id=batch_id, index=index, size=size)
    return make_job(request_id=f"{batch_id}/{index}", batch=place, **changes)


def outcome(job: Job, status: str = "completed", after: int = 0) -> Result:
    code = ENDS[status]
    if code is None:
        result: Result = completed(job, INFO, cache="hit", engine=ENGINE)
    else:
        result = ended(job, explain(code, operation="extraction", url=URL))
    return msgspec.structs.replace(result, finished_at=WRITTEN_AT + timedelta(seconds=after))


class LedgerHarness:
    """A ledger over one log of the audit topic: what it writes there, it reads next."""

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
            self.log.append(arrive(record, offset=len(self.log)))

    def write(self, effects: Sequence[Effect]) -> None:
        for table in (self.table, self.batch_table):
            show(table, effects)
        self.append(*sent_to(effects, AUDIT))
        self.published += sent_to(effects, RESULTS)

    async def run(self) -> None:
        """Handle the log up to its end."""
        while self.committed < len(self.log):
            self.write(await self.ledger.handle(self.log[self.committed]))
            self.committed += 1

    async def decide(self, job: Job, status: str = "completed", after: int = 0) -> None:
        self.append(propose_result(job, "download", outcome(job, status, after), "cause"))
        await self.run()

    def sweep(self) -> list[Effect]:
        effects = self.batches.sweep(dict(self.batch_table.items()))
        self.write(effects)
        return effects

    def summaries(self, batch_id: str = "b") -> list[BatchFinished]:
        mine = (each.value or b"" for each in self.published if each.key == batch_id.encode())
        return [decode(body, BatchFinished) for body in mine]

    def batch(self, batch_id: str = "b") -> Batch | None:
        return self.batches.known(batch_id)


async def test_the_last_member_ends_the_batch_with_one_summary() -> None:
    ledger = LedgerHarness()
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


async def test_a_summary_is_a_result_of_the_batch() -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0, size=1))
    _, summary = ledger.published
    assert (summary.topic, summary.key) == (RESULTS, b"b")
    assert header(summary, "ce_type") == "io.clipmill.batch.finished.v1"
    assert header(summary, "ce_id") == "b:batch.finished.v1"
    assert header(summary, "ce_correlationid") == "b"
    assert (header(summary, "traceparent") or "")[3:35] == TRACE_ID


@pytest.mark.parametrize("status", ENDS)
async def test_every_kind_of_outcome_counts(status: str) -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0, size=1), status)
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(**{status: 1})


async def test_a_batch_that_is_cancelled_ends_with_its_last_member() -> None:
    ledger = LedgerHarness()
    for index in range(3):
        ledger.append(audit(member(index), "validation", "accepted", "cause"))
    await ledger.run()
    await ledger.decide(member(1))
    command = Cancel(id="c1", request_id="b")
    ledger.append(user_command(command, "commands", at=WRITTEN_AT, cause="c1", trace_id=TRACE_ID))
    await ledger.run()
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=1, cancelled=2)


async def test_a_member_that_ends_by_a_bug_counts() -> None:
    ledger = LedgerHarness()
    ledger.append(audit(member(0, size=2), "validation", "accepted", "cause"))
    await ledger.decide(member(1, size=2))
    headers = [("ce_correlationid", b"b/0")]
    ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers, offset=len(ledger.log)))
    await ledger.run()
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=1, failed=1)


async def test_a_member_of_which_little_is_known_counts_before_its_batch_is_known() -> None:
    ledger = LedgerHarness()
    headers = [("ce_correlationid", b"b/0")]
    ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers))
    await ledger.run()
    await ledger.decide(member(1, size=2, attributes={"a": "b"}))
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=1, failed=1)
    assert summary.attributes == {"a": "b"}


async def test_the_introduction_ends_a_batch_whose_members_did_not_tell_its_size() -> None:
    ledger = LedgerHarness()
    for index in range(2):
        headers = [("ce_correlationid", f"b/{index}".encode())]
        ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers, offset=index))
    await ledger.run()
    assert ledger.summaries() == []
    ledger.append(audit(member(0, size=2), "validation", "accepted", "cause"))
    await ledger.run()
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(failed=2)


async def test_replays_of_members_do_not_count_again() -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0, size=2), "failed")
    await ledger.decide(member(0, size=2).replayed(1, WRITTEN_AT))
    assert ledger.summaries() == []
    await ledger.decide(member(1, size=2))
    assert [each.counts for each in ledger.summaries()] == [BatchCounts(completed=1, failed=1)]
    await ledger.decide(member(1, size=2).replayed(1, WRITTEN_AT), "failed")
    assert len(ledger.summaries()) == 1


async def test_a_replay_of_the_first_member_does_not_open_a_batch_that_was_forgotten() -> None:
    ledger = LedgerHarness()
    replay = member(0).replayed(1, WRITTEN_AT)
    ledger.append(audit(replay, "validation", "accepted", "cause"))
    await ledger.decide(replay)
    assert ledger.batch() is None


async def test_a_batch_that_is_asked_for_twice_ends_once() -> None:
    ledger = LedgerHarness()
    for _ in range(2):
        for index in range(3):
            ledger.append(audit(member(index), "validation", "accepted", "cause"))
            await ledger.decide(member(index))
    assert len(ledger.summaries()) == 1


async def test_of_two_batches_of_one_name_the_larger_one_is_awaited() -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0, size=2))
    await ledger.decide(member(2, size=3))
    assert ledger.summaries() == []
    await ledger.decide(member(1, size=2))
    (summary,) = ledger.summaries()
    assert (summary.batch_size, summary.counts) == (3, BatchCounts(completed=3))


async def test_the_record_that_closed_a_batch_repeats_its_summary_when_read_again() -> None:
    ledger = LedgerHarness()
    for index in range(3):
        await ledger.decide(member(index))
    closing = ledger.log[-1]
    for earlier in ledger.log[:-1]:
        again = await ledger.ledger.handle(earlier)
        assert not [each for each in sent_to(again, RESULTS) if each.key == b"b"]
    ledger.clock.now += 30
    again = await ledger.ledger.handle(closing)
    assert not writes(again)
    (first,) = [each for each in ledger.published if each.key == b"b"]
    assert only(again, RESULTS).value == first.value


async def test_the_record_that_decided_a_member_repeats_its_report_when_read_again() -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(1))
    deciding, report = ledger.log
    again = only(await ledger.ledger.handle(deciding), AUDIT)
    assert again.value == report.value
    copy = make_record(deciding.value, topic=AUDIT, headers=list(deciding.headers), offset=99)
    assert await ledger.ledger.handle(copy) == []


async def test_a_crash_before_the_row_closes_the_batch_in_the_same_way() -> None:
    ledger = LedgerHarness()
    for index in range(2):
        await ledger.decide(member(index))
    ledger.append(propose_result(member(2), "download", outcome(member(2)), "cause"))
    ledger.write(await ledger.ledger.handle(ledger.log[ledger.committed]))
    report = ledger.log[-1]
    first = only(await ledger.ledger.handle(report), RESULTS)
    ledger.clock.now += 30
    assert only(await ledger.ledger.handle(report), RESULTS).value == first.value


async def test_a_copy_of_the_last_report_does_not_end_the_batch_again() -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0, size=1))
    copy = make_record(
        ledger.log[-1].value, topic=AUDIT, headers=list(ledger.log[-1].headers), offset=99
    )
    assert await ledger.ledger.handle(copy) == []


async def test_a_row_of_a_thousand_members_is_small() -> None:
    ledger = LedgerHarness()
    for index in range(999):
        await ledger.decide(member(index, size=1_000))
    assert ledger.summaries() == []
    assert len(ledger.batch_table.get("b") or b"") < 500
    await ledger.decide(member(999, size=1_000), "failed")
    (summary,) = ledger.summaries()
    assert summary.counts == BatchCounts(completed=999, failed=1)


@pytest.mark.parametrize("index", [3, 999])
async def test_a_place_outside_the_batch_does_not_count(index: int) -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0))
    await ledger.decide(member(index))
    batch = ledger.batch()
    assert batch is not None
    assert batch.members_decided == 1


def test_a_bug_at_a_record_about_a_batch_ends_nothing() -> None:
    ledger = LedgerHarness()
    job = member(0, size=1)
    report = arrive(
        expire_batch("b", 1.0, TRACE_ID, "ledger", WRITTEN_AT),
    )
    for record in (report, arrive(_report(ledger, job))):
        effects = on_bug(record, RuntimeError("x"))
        assert effects == dead_letters(effects)
        assert len(effects) == 1


def _report(ledger: LedgerHarness, job: Job) -> Outgoing:
    record = arrive(propose_result(job, "download", outcome(job), "cause"))
    return sent_to(_now(ledger.ledger.handle(record)), AUDIT)[-1]


# The end of rows


async def test_a_closed_batch_is_forgotten_after_its_time() -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0, size=1))
    ledger.clock.now += REMEMBER_SECONDS - 0.1
    assert ledger.sweep() == []
    ledger.clock.now += 0.1
    ledger.sweep()
    assert ledger.batch() is None


async def test_each_member_prolongs_the_wait_for_the_next() -> None:
    ledger = LedgerHarness()
    for index in range(2):
        await ledger.decide(member(index))
        ledger.clock.now += OPEN_SECONDS - 0.1
        assert ledger.sweep() == []
    ledger.clock.now += 0.1
    assert sent_to(ledger.sweep(), AUDIT)


async def test_a_batch_with_a_member_that_is_never_decided_ends_and_says_so() -> None:
    ledger = LedgerHarness()
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


async def test_a_member_that_comes_before_the_order_to_close_keeps_the_batch_open() -> None:
    ledger = LedgerHarness()
    await ledger.decide(member(0))
    ledger.clock.now += OPEN_SECONDS
    closing = sent_to(ledger.batches.sweep(dict(ledger.batch_table.items())), AUDIT)
    await ledger.decide(member(1))
    ledger.append(*closing)
    await ledger.run()
    assert ledger.summaries() == []
    await ledger.decide(member(2))
    assert [each.counts for each in ledger.summaries()] == [BatchCounts(completed=3)]


async def test_a_batch_of_unknown_size_is_forgotten_without_a_summary() -> None:
    ledger = LedgerHarness()
    headers = [("ce_correlationid", b"b/0")]
    ledger.log.append(make_record(b"\xff", topic=AUDIT, headers=headers))
    await ledger.run()
    ledger.clock.now += OPEN_SECONDS
    assert [(each.key, each.value) for each in writes(ledger.sweep())] == [("b", None)]


async def test_of_too_many_batches_those_end_that_would_be_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ledger = LedgerHarness()
    for batch_id in ("x", "y"):
        await ledger.decide(member(0, size=2, batch_id=batch_id))
        ledger.clock.now += 1
    monkeypatch.setattr(module, "ROWS_BYTES_MAX", 600)
    (effect,) = ledger.sweep()
    assert body_of(effect, AuditRecord).request_id == "x"
    await ledger.run()
    (summary,) = ledger.summaries("x")
    assert summary.counts == BatchCounts(completed=1, undecided=1)


def test_a_row_that_cannot_be_read_is_forgotten() -> None:
    ledger = LedgerHarness()
    ledger.batch_table.show(TableWrite(batches.TABLE, "b", b"\xff"))
    assert ledger.batch() is None
    assert [(each.key, each.value) for each in writes(ledger.sweep())] == [("b", None)]


# Any order, with a crash at any place

SIZES = {"p": 1, "q": 2, "r": 4}


class Members(RuleBasedStateMachine):
    """Members of three batches, read with crashes; all ledgers read one partition."""

    @initialize()
    def open(self) -> None:
        self.ledger = LedgerHarness()

    @rule(
        batch_id=st.sampled_from("pqr"),
        index=st.integers(0, 3),
        status=st.sampled_from(list(ENDS)),
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
    def write_garbage(self, batch_id: str, index: int) -> None:
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

    @rule(ahead=st.integers(0, 3), kept=st.sampled_from([(), (0,), (1,), (0, 1), (0, 2), (1, 2)]))
    def crash(self, ahead: int, kept: tuple[int, ...]) -> None:
        """Handle records that are not committed; of the last one only some effects arrive."""
        first = self.ledger.committed
        last = min(first + ahead, len(self.ledger.log) - 1)
        for offset in range(first, last):
            self.ledger.write(self._handle(offset))
        if first <= last:
            effects = self._handle(last)
            self.ledger.write([each for place, each in enumerate(effects) if place in kept])

    def _handle(self, offset: int) -> Sequence[Effect]:
        return _now(self.ledger.ledger.handle(self.ledger.log[offset]))

    @invariant()
    def a_batch_has_one_summary_and_it_is_right(self) -> None:
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
        """In the end each batch is introduced, and no summary of a complete one is missing."""
        ledger = self.ledger
        for batch_id in SIZES:
            self.accept(batch_id, 0)
        while ledger.committed < len(ledger.log):
            self.read(1)
        self.a_batch_has_one_summary_and_it_is_right()
        for batch_id, size in SIZES.items():
            decided = sum(_values(self._counted(batch_id)))
            assert (len(ledger.summaries(batch_id)) > 0) == (decided == size), batch_id


def _values(counts: BatchCounts) -> list[int]:
    return [getattr(counts, name) for name in counts.__struct_fields__]


def _now(work: Any) -> Sequence[Effect]:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as done:
        effects: Sequence[Effect] = done.value
        return effects
    raise AssertionError("the ledger waits for nothing")


TestMembers = Members.TestCase
TestMembers.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
