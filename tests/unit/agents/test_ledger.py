from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import agents.ledger
from agents.ledger import LONE_SECONDS, ROWS_MAX, SWEEP_SECONDS, TABLE, Decided, Ledger, on_bug
from agents.ledger import stage as ledger_stage
from agents.letters import audit, finish
from agents.outcomes import completed, ended, expired
from schemas.codec import decode, encode
from schemas.errors import ErrorCode
from schemas.job import Job
from schemas.messages import explain
from schemas.results import Failed, Result
from streams.records import Effect, Incoming, Outgoing, TableWrite
from streams.tables import StageTable
from streams.topics import AUDIT, RESULTS
from tests.unit.agents.builders import (
    ENGINE,
    INFO,
    TRACE_ID,
    URL,
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
    sent_to,
    show,
    writes,
)

JOB = make_job(timings={"extraction": 1.5})


def done(job: Job = JOB) -> Result:
    return completed(job, INFO, cache="hit", engine=ENGINE)


def failed(job: Job = JOB, code: ErrorCode = ErrorCode.NETWORK_DNS) -> Result:
    return ended(job, explain(code, operation="extraction", url=URL))


def proposal(outcome: Result, *, offset: int = 0, job: Job = JOB) -> Incoming:
    return arrive(finish(job, "download", outcome, "cause"), offset=offset)


class Kit:
    """A ledger with its table."""

    def __init__(self, remember_seconds: float = 100.0) -> None:
        self.table: StageTable = make_table(TABLE)
        self.clock = Clock()
        self.ledger = Ledger(self.table.get, remember_seconds, self.clock)

    async def run(self, record: Incoming) -> list[Effect]:
        effects = list(await self.ledger.handle(record))
        show(self.table, effects)
        return effects


def result(effects: Sequence[Effect]) -> Result:
    return body_of(only(effects, RESULTS), Result)  # type: ignore[arg-type]


async def test_the_first_outcome_is_the_result_and_is_kept() -> None:
    kit = Kit()
    effects = await kit.run(proposal(done(), offset=4))
    assert result(effects) == done_as(effects)
    (row,) = writes(effects)
    assert (row.table, row.key) == (TABLE, "r1")
    assert decode(row.value or b"", Decided) == Decided(position="audit-0-4", expires_at=1_100.0)


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


@pytest.mark.parametrize("transition", ["accepted", "extracted", "selected", "failed", "retrying"])
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


def test_too_many_rows_lose_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ROWS_MAX >= 100_000
    monkeypatch.setattr(agents.ledger, "ROWS_MAX", 2)
    ends = {"a": 5_000.0, "b": 3_000.0, "c": 4_000.0}
    rows = {key: encode(Decided(position="p", expires_at=end)) for key, end in ends.items()}
    assert Kit().ledger.forgotten(rows) == ["b"]


def test_rows_that_nobody_can_read_are_forgotten() -> None:
    assert Kit().ledger.forgotten({"a": b"\xff"}) == ["a"]


async def test_a_row_that_nobody_can_read_still_decides() -> None:
    kit = Kit()
    kit.ledger = Ledger(lambda _: b"\xff", 100.0, kit.clock)
    assert await kit.run(proposal(done())) == []


async def test_the_sweep_of_the_stage_deletes_rows() -> None:
    context, _ = make_context(make_settings(), TABLE)
    async with ledger_stage.open(context) as handle:
        table = context.tables[TABLE]
        show(table, await handle(proposal(done())))
        ((seconds, sweep),) = context.sweeps
        assert seconds == SWEEP_SECONDS
        assert sweep() == []
        row = Decided(position="p", expires_at=1.0)
        show(table, [TableWrite(TABLE, "old", encode(row))])
        swept = sweep()
        assert [(each.key, each.value) for each in writes(swept)] == [("old", None)]
        show(table, swept)
        assert table.get("old") is None
        assert table.get("r1") is not None


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
    assert decode(row.value or b"", Decided).position == "audit-0-4"
    assert LONE_SECONDS > 0


def test_a_bug_that_happens_again_says_the_same() -> None:
    record = proposal(done())
    first, second = (only(on_bug(record, RuntimeError("x")), RESULTS) for _ in range(2))
    assert first.value == second.value


# Any order of news, with a crash at any place


class Requests(RuleBasedStateMachine):
    """One partition of the audit topic, read with crashes; three requests."""

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
        self._append(finish(job, "extraction", failed(job, code), "cause"))

    @rule(request=st.sampled_from("abc"))
    def propose_success(self, request: str) -> None:
        job = make_job(request_id=request)
        self._append(finish(job, "download", done(job), "cause"))

    @rule(request=st.sampled_from("abc"))
    def tell_news(self, request: str) -> None:
        self._append(audit(make_job(request_id=request), "extraction", "accepted", None))

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
        show(self.kit.table, effects)
        for sent in sent_to(effects, RESULTS):
            key = (sent.key or b"").decode()
            self.published.setdefault(key, set()).add(sent.value or b"")

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
