"""Duplicate request ids are reported once each; redelivered records are not."""

import logging

import pytest

from agents.commands.agent import reject
from agents.ledger.events import TABLE
from agents.pipeline.events import audit, propose_result, user_command
from agents.pipeline.results import completed, error_result
from schemas.audit import AuditRecord
from schemas.codec import decode
from schemas.commands import Cancel
from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import Job
from schemas.request import Options
from streams.observability.metrics import REGISTRY
from streams.records import Effect, Outgoing, TableWrite
from streams.topics import AUDIT, COMMANDS, RESULTS
from tests.unit.agents.builders import (
    ENGINE,
    INFO,
    PAST,
    WRITTEN_AT,
    apply_writes,
    as_incoming,
    header,
    make_job,
    make_record,
    member_job,
    only_record,
    sent_to,
)
from tests.unit.agents.ledger.test_agent import LedgerHarness

TRACES = [f"{number:032x}" for number in range(1, 4)]
FIRST = make_job(trace_id=TRACES[0])
REPEATED = make_job(trace_id=TRACES[1])
OTHER = make_job(trace_id=TRACES[1], url="https://www.tiktok.com/@u/video/7000000000000000009")
REPLAY = make_job(trace_id=TRACES[0], replays=1)
LOWERED = make_job(trace_id=TRACES[0], replays=1, options=Options(quality="480p"))
SAME_TRACE = make_job(trace_id=TRACES[0], action="info")


def accepted_record(job: Job, by: str = "event-1") -> Outgoing:
    return audit(job, "validation", "accepted", by)


def completed_proposal(job: Job, step: str = "download") -> Outgoing:
    return propose_result(job, step, completed(job, INFO, cache="hit", engine=ENGINE), "cause")


def failed_proposal(
    job: Job, step: str = "recovery", code: ErrorCode = ErrorCode.NETWORK_DNS
) -> Outgoing:
    return propose_result(
        job, step, error_result(job, explain(code, operation=step, url=job.url)), "event-2"
    )


def rejected_proposal(job: Job) -> Outgoing:
    return failed_proposal(job, "validation", ErrorCode.REQUEST_INVALID)


def rejected_command(trace: str) -> Outgoing:
    record = make_record(
        b'{"command": "cancel", "id": "r1"}',
        topic=COMMANDS,
        headers=[("traceparent", f"00-{trace}-b7ad6b7169203331-01".encode())],
    )
    (effect,) = reject(record, ClipmillError(ErrorCode.REQUEST_INVALID, "no"))
    assert isinstance(effect, Outgoing)
    return effect


def counter_value(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_{name}_total", labels) or 0.0


class CounterChanges:
    """Changes of the counters since its creation."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        repeated = {c: counter_value("repeated_requests", content=c) for c in ("same", "other")}
        reasons = ("copy", "late", "repeated", "unreadable_row")
        return repeated | {r: counter_value("outcomes_dropped", reason=r) for r in reasons}

    def since(self) -> dict[str, float]:
        return {
            name: n - self._before[name]
            for name, n in self._now().items()
            if n > self._before[name]
        }


async def handle_all(harness: LedgerHarness, *records: Outgoing) -> list[Effect]:
    """Handle all records; return the effects of the last one."""
    effects: list[Effect] = []
    for offset, each in enumerate(records):
        effects = await harness.run(as_incoming(each, offset=offset))
    return effects


CASES: dict[str, tuple[list[Outgoing], str | None, str | None]] = {
    "copy of the accepted event": ([accepted_record(FIRST), accepted_record(FIRST)], None, None),
    "copy of the outcome": ([completed_proposal(FIRST), completed_proposal(FIRST)], None, "copy"),
    "copy after the outcome": (
        [accepted_record(FIRST), completed_proposal(FIRST), accepted_record(FIRST)],
        None,
        None,
    ),
    "copy with another received_at": (
        [accepted_record(FIRST), accepted_record(make_job(trace_id=TRACES[0], received_at=PAST))],
        None,
        None,
    ),
    "copy of a rejection": ([rejected_proposal(FIRST), rejected_proposal(FIRST)], None, "copy"),
    "another outcome of the request": (
        [accepted_record(FIRST), failed_proposal(FIRST), completed_proposal(FIRST)],
        None,
        "late",
    ),
    "copy of a replay whose options were changed": (
        [accepted_record(REPLAY), completed_proposal(REPLAY), completed_proposal(LOWERED)],
        None,
        "copy",
    ),
    "repeated while open": ([accepted_record(FIRST), accepted_record(REPEATED)], "same", None),
    "repeated when decided": (
        [accepted_record(FIRST), completed_proposal(FIRST), accepted_record(REPEATED)],
        "same",
        None,
    ),
    "outcome of the repeated request": (
        [accepted_record(FIRST), completed_proposal(FIRST), completed_proposal(REPEATED)],
        None,
        "repeated",
    ),
    "another request while open": ([accepted_record(FIRST), accepted_record(OTHER)], "other", None),
    "another request when decided": (
        [accepted_record(FIRST), completed_proposal(FIRST), accepted_record(OTHER)],
        "other",
        None,
    ),
    "another request in the same trace": (
        [accepted_record(FIRST), completed_proposal(FIRST), accepted_record(SAME_TRACE)],
        "other",
        None,
    ),
    "outcome of another request while open": (
        [accepted_record(FIRST), completed_proposal(OTHER)],
        None,
        "repeated",
    ),
    "another request, rejected while open": (
        [accepted_record(FIRST), rejected_proposal(OTHER)],
        "other",
        "repeated",
    ),
    "outcome after that of the repeated request": (
        [accepted_record(FIRST), completed_proposal(REPEATED), completed_proposal(FIRST)],
        None,
        "repeated",
    ),
    "a rejected request, corrected": (
        [rejected_proposal(FIRST), accepted_record(REPEATED)],
        "other",
        None,
    ),
    "a rejected request after a decided one": (
        [completed_proposal(FIRST), rejected_proposal(OTHER)],
        "other",
        "repeated",
    ),
    "a rejected command": (
        [completed_proposal(FIRST), rejected_command(TRACES[1])],
        "other",
        "repeated",
    ),
    "a rejected command while open": (
        [accepted_record(FIRST), rejected_command(TRACES[1])],
        "other",
        "repeated",
    ),
    "copy of a rejected command": (
        [rejected_command(TRACES[0]), rejected_command(TRACES[0])],
        None,
        "copy",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_dropped_record_is_counted_and_audited_by_kind(case: str) -> None:
    *earlier, last = CASES[case][0]
    _, content, reason = CASES[case]
    harness = LedgerHarness()
    await handle_all(harness, *earlier)
    counts = CounterChanges()
    effects = await harness.run(as_incoming(last, offset=9))
    assert not sent_to(effects, RESULTS)
    assert counts.since() == {name: 1.0 for name in (content, reason) if name is not None}
    if content is None:
        assert effects == []
        return
    entry = decode(only_record(effects, AUDIT).value or b"", AuditRecord)
    assert (entry.request_id, entry.step, entry.transition) == ("r1", "ledger", "repeated")
    by = header(last, "ce_causationid")
    assert entry.detail == {"content": content, "by": by}
    assert by


FINAL_OUTCOMES: dict[str, Outgoing] = {
    "own outcome": completed_proposal(FIRST),
    "outcome of the repeated request": completed_proposal(REPEATED),
    "own outcome, undecodable": failed_proposal(
        make_job(trace_id=TRACES[2], url=""), "extraction", ErrorCode.INTERNAL_BUG
    ),
}


@pytest.mark.parametrize("final", FINAL_OUTCOMES)
async def test_open_request_gets_its_outcome_after_another_is_dropped(final: str) -> None:
    harness = LedgerHarness()
    await handle_all(
        harness, accepted_record(FIRST), accepted_record(OTHER), completed_proposal(OTHER)
    )
    assert (
        len(sent_to(await harness.run(as_incoming(FINAL_OUTCOMES[final], offset=9)), RESULTS)) == 1
    )


async def test_outcome_with_an_undecodable_row_is_counted() -> None:
    harness, counts = LedgerHarness(), CounterChanges()
    apply_writes(harness.table, [TableWrite(TABLE, "r1", b"\xff")])
    assert await handle_all(harness, completed_proposal(FIRST)) == []
    assert counts.since() == {"unreadable_row": 1.0}


async def test_audit_record_decides_nothing_and_is_stable_on_redelivery() -> None:
    harness = LedgerHarness()
    await handle_all(harness, accepted_record(FIRST))
    once, twice = [
        await harness.run(as_incoming(accepted_record(OTHER), offset=5)) for _ in range(2)
    ]
    assert [header(each, "ce_id") for each in once] == [header(each, "ce_id") for each in twice]
    counts = CounterChanges()
    assert await harness.run(as_incoming(once[0], offset=6)) == []
    assert counts.since() == {}


async def test_each_member_of_a_batch_with_a_duplicate_id_is_counted() -> None:
    harness, counts = LedgerHarness(), CounterChanges()
    for index in range(3):
        await harness.run(as_incoming(accepted_record(member_job(index, trace_id=TRACES[0]))))
    for index in range(3):
        await harness.run(as_incoming(accepted_record(member_job(index, trace_id=TRACES[1]))))
    assert counts.since() == {"same": 3.0}


async def test_outcome_after_a_cancellation_is_late_and_no_duplicate() -> None:
    harness, counts = LedgerHarness(), CounterChanges()
    cancel = user_command(
        Cancel(request_id="r1", by="me"), "commands", at=WRITTEN_AT, cause="c", trace_id=TRACES[2]
    )
    await handle_all(harness, accepted_record(FIRST), cancel, completed_proposal(FIRST))
    assert counts.since() == {"late": 1.0}


async def test_many_duplicates_log_one_line_and_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "agents.ledger.duplicates")
    harness = LedgerHarness()
    await handle_all(
        harness, accepted_record(FIRST), *(accepted_record(OTHER, f"event-{n}") for n in range(50))
    )
    (line,) = caplog.messages
    assert "r1" in line
    assert "event-0" in line
    harness.ledger.duplicates.log_counts()
    assert len(caplog.messages) == 2
    assert "49 further" in caplog.messages[1]
    harness.ledger.duplicates.log_counts()
    assert len(caplog.messages) == 2


async def test_redeliveries_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agents.ledger.duplicates")
    await handle_all(
        LedgerHarness(),
        accepted_record(FIRST),
        accepted_record(FIRST),
        completed_proposal(FIRST),
        completed_proposal(FIRST),
    )
    assert caplog.messages == []
