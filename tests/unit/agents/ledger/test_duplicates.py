"""Requests under a taken id: reported once each, copies of at-least-once delivery never."""

import logging

import pytest

from agents.commands.command_parsing import refuse
from agents.ledger.events import TABLE
from agents.pipeline.events import audit, propose_result, user_command
from agents.pipeline.results import completed, ended
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
    arrive,
    header,
    make_job,
    make_record,
    member_job,
    only,
    sent_to,
)
from tests.unit.agents.ledger.test_agent import Kit

TRACES = [f"{number:032x}" for number in range(1, 4)]
FIRST = make_job(trace_id=TRACES[0])
AGAIN = make_job(trace_id=TRACES[1])
OTHER = make_job(trace_id=TRACES[1], url="https://www.tiktok.com/@u/video/7000000000000000009")
REPLAY = make_job(trace_id=TRACES[0], replays=1)
LOWERED = make_job(trace_id=TRACES[0], replays=1, options=Options(quality="480p"))
SAME_TRACE = make_job(trace_id=TRACES[0], action="info")


def accepted(job: Job, by: str = "event-1") -> Outgoing:
    return audit(job, "validation", "accepted", by)


def done(job: Job, step: str = "download") -> Outgoing:
    return propose_result(job, step, completed(job, INFO, cache="hit", engine=ENGINE), "cause")


def failed(job: Job, step: str = "recovery", code: ErrorCode = ErrorCode.NETWORK_DNS) -> Outgoing:
    return propose_result(
        job, step, ended(job, explain(code, operation=step, url=job.url)), "event-2"
    )


def rejected(job: Job) -> Outgoing:
    return failed(job, "validation", ErrorCode.REQUEST_INVALID)


def refused_command(trace: str) -> Outgoing:
    record = make_record(
        b'{"command": "cancel", "id": "r1"}',
        topic=COMMANDS,
        headers=[("traceparent", f"00-{trace}-b7ad6b7169203331-01".encode())],
    )
    (effect,) = refuse(record, ClipmillError(ErrorCode.REQUEST_INVALID, "no"))
    assert isinstance(effect, Outgoing)
    return effect


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"clipmill_{name}_total", labels) or 0.0


class Counts:
    """What the metrics have counted since this was made."""

    def __init__(self) -> None:
        self._before = self._now()

    def _now(self) -> dict[str, float]:
        repeated = {c: counted("repeated_requests", content=c) for c in ("same", "other")}
        reasons = ("copy", "late", "repeated", "unreadable_row")
        return repeated | {r: counted("outcomes_dropped", reason=r) for r in reasons}

    def since(self) -> dict[str, float]:
        return {
            name: n - self._before[name]
            for name, n in self._now().items()
            if n > self._before[name]
        }


async def run(kit: Kit, *written: Outgoing) -> list[Effect]:
    """The effects of the last of these."""
    effects: list[Effect] = []
    for offset, each in enumerate(written):
        effects = await kit.run(arrive(each, offset=offset))
    return effects


CASES: dict[str, tuple[list[Outgoing], str | None, str | None]] = {
    "copy of the accepted event": ([accepted(FIRST), accepted(FIRST)], None, None),
    "copy of the outcome": ([done(FIRST), done(FIRST)], None, "copy"),
    "copy behind the outcome": ([accepted(FIRST), done(FIRST), accepted(FIRST)], None, None),
    "copy of a clock that is ahead": (
        [accepted(FIRST), accepted(make_job(trace_id=TRACES[0], received_at=PAST))],
        None,
        None,
    ),
    "copy of a rejection": ([rejected(FIRST), rejected(FIRST)], None, "copy"),
    "another outcome of the request": ([accepted(FIRST), failed(FIRST), done(FIRST)], None, "late"),
    "copy of a replay whose options were changed": (
        [accepted(REPLAY), done(REPLAY), done(LOWERED)],
        None,
        "copy",
    ),
    "asked again while open": ([accepted(FIRST), accepted(AGAIN)], "same", None),
    "asked again when decided": ([accepted(FIRST), done(FIRST), accepted(AGAIN)], "same", None),
    "its outcome": ([accepted(FIRST), done(FIRST), done(AGAIN)], None, "repeated"),
    "another request while open": ([accepted(FIRST), accepted(OTHER)], "other", None),
    "another request when decided": (
        [accepted(FIRST), done(FIRST), accepted(OTHER)],
        "other",
        None,
    ),
    "another request in the same trace": (
        [accepted(FIRST), done(FIRST), accepted(SAME_TRACE)],
        "other",
        None,
    ),
    "another one's outcome while open": ([accepted(FIRST), done(OTHER)], None, "repeated"),
    "another request, rejected while open": (
        [accepted(FIRST), rejected(OTHER)],
        "other",
        "repeated",
    ),
    "its outcome behind that of the copy": (
        [accepted(FIRST), done(AGAIN), done(FIRST)],
        None,
        "repeated",
    ),
    "a rejected request, corrected": ([rejected(FIRST), accepted(AGAIN)], "other", None),
    "a rejected request after a decided one": ([done(FIRST), rejected(OTHER)], "other", "repeated"),
    "a refused command": ([done(FIRST), refused_command(TRACES[1])], "other", "repeated"),
    "a refused command of an open request": (
        [accepted(FIRST), refused_command(TRACES[1])],
        "other",
        "repeated",
    ),
    "copy of a refused command": (
        [refused_command(TRACES[0]), refused_command(TRACES[0])],
        None,
        "copy",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_is_dropped_is_reported_by_its_kind(case: str) -> None:
    *earlier, last = CASES[case][0]
    _, content, reason = CASES[case]
    kit = Kit()
    await run(kit, *earlier)
    counts = Counts()
    effects = await kit.run(arrive(last, offset=9))
    assert not sent_to(effects, RESULTS)
    assert counts.since() == {name: 1.0 for name in (content, reason) if name is not None}
    if content is None:
        assert effects == []
        return
    entry = decode(only(effects, AUDIT).value or b"", AuditRecord)
    assert (entry.request_id, entry.step, entry.transition) == ("r1", "ledger", "repeated")
    by = header(last, "ce_causationid")
    assert entry.detail == {"content": content, "by": by}
    assert by


ENDS: dict[str, Outgoing] = {
    "its own": done(FIRST),
    "of the same content, published twice": done(AGAIN),
    "its own, unreadable": failed(
        make_job(trace_id=TRACES[2], url=""), "extraction", ErrorCode.INTERNAL_BUG
    ),
}


@pytest.mark.parametrize("end", ENDS)
async def test_the_open_request_has_its_outcome_after_another_s_is_dropped(end: str) -> None:
    kit = Kit()
    await run(kit, accepted(FIRST), accepted(OTHER), done(OTHER))
    assert len(sent_to(await kit.run(arrive(ENDS[end], offset=9)), RESULTS)) == 1


async def test_an_outcome_under_an_unreadable_row_is_counted() -> None:
    kit, counts = Kit(), Counts()
    kit.table.show(TableWrite(TABLE, "r1", b"\xff"))
    assert await run(kit, done(FIRST)) == []
    assert counts.since() == {"unreadable_row": 1.0}


async def test_the_audit_record_decides_nothing_and_is_the_same_for_copies() -> None:
    kit = Kit()
    await run(kit, accepted(FIRST))
    once, twice = [await kit.run(arrive(accepted(OTHER), offset=5)) for _ in range(2)]
    assert [header(each, "ce_id") for each in once] == [header(each, "ce_id") for each in twice]
    counts = Counts()
    assert await kit.run(arrive(once[0], offset=6)) == []
    assert counts.since() == {}


async def test_members_of_a_batch_under_a_taken_id_are_reported_each() -> None:
    kit, counts = Kit(), Counts()
    for index in range(3):
        await kit.run(arrive(accepted(member_job(index, trace_id=TRACES[0]))))
    for index in range(3):
        await kit.run(arrive(accepted(member_job(index, trace_id=TRACES[1]))))
    assert counts.since() == {"same": 3.0}


async def test_a_cancelled_request_that_is_done_too_is_no_duplicate() -> None:
    kit, counts = Kit(), Counts()
    cancel = user_command(
        Cancel(request_id="r1", by="me"), "commands", at=WRITTEN_AT, cause="c", trace_id=TRACES[2]
    )
    await run(kit, accepted(FIRST), cancel, done(FIRST))
    assert counts.since() == {"late": 1.0}


async def test_a_flood_of_duplicates_logs_one_line_and_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "agents.ledger.duplicates")
    kit = Kit()
    await run(kit, accepted(FIRST), *(accepted(OTHER, f"event-{n}") for n in range(50)))
    (line,) = caplog.messages
    assert "r1" in line
    assert "event-0" in line
    kit.ledger.duplicates.log_counts()
    assert len(caplog.messages) == 2
    assert "49 more" in caplog.messages[1]
    kit.ledger.duplicates.log_counts()
    assert len(caplog.messages) == 2


async def test_copies_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "agents.ledger.duplicates")
    await run(Kit(), accepted(FIRST), accepted(FIRST), done(FIRST), done(FIRST))
    assert caplog.messages == []
