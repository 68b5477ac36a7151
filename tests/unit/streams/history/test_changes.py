from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from agents.ledger.user_commands import reject
from agents.pipeline.events import audit, propose_result
from agents.pipeline.results import completed, error_result
from schemas.audit import AuditRecord
from schemas.codec import decode, encode
from schemas.commands import Cancel, Retry
from schemas.error_catalog import explain
from schemas.errors import ErrorCode
from schemas.job import BatchMember, Job
from schemas.request import Reply
from schemas.results import BatchCounts, BatchFinished
from schemas.video import Author
from streams.history.changes import (
    AUTHOR_CHARACTERS_MAX,
    DETAILS_CHARACTERS_MAX,
    TEXT_CHARACTERS_MAX,
    TITLE_CHARACTERS_MAX,
    RejectedCommand,
    RequestChange,
    change_of_audit,
    change_of_result,
)
from streams.records import Incoming
from tests.unit.agents.builders import ENGINE, INFO, URL, VIDEO, WRITTEN_AT, make_job

RECEIVED = WRITTEN_AT.timestamp()
JOB = make_job(request_id="r", url=URL, action="info", received_at=WRITTEN_AT)


def audited(job: Job, step: str, transition: Any, **fields: Any) -> RequestChange:
    change = change_of_audit(audit(job, step, transition, "c", **fields).value or b"")
    assert change is not None
    return change


def test_accepted_request_has_its_job_and_post() -> None:
    change = audited(JOB, "validation", "accepted", detail={"video": VIDEO.key})
    assert (change.request_id, change.state, change.step) == ("r", "accepted", "validation")
    assert (change.action, change.url, change.video) == ("info", URL, VIDEO.key)
    assert (change.received_at, change.batch, change.is_final) == (RECEIVED, None, False)
    assert change.event is not None
    assert (change.event.transition, change.event.detail) == ("accepted", {"video": VIDEO.key})


MEMBER = make_job(request_id="b/1", url=URL, batch=BatchMember(id="b", index=1, size=2))


def test_member_has_its_batch() -> None:
    assert audited(MEMBER, "validation", "accepted").batch == "b"


def test_retry_names_its_origin_from_its_job_and_from_its_result() -> None:
    job = make_job(request_id="r/replay-1", retry_of="r")
    change = change_of_result(encode(completed(job, INFO, cache="hit", engine=ENGINE)))
    assert change is not None
    assert audited(job, "validation", "accepted").retry_of == change.retry_of == "r"


def test_batch_has_neither_batch_nor_url_of_the_member_that_registers_it() -> None:
    record = AuditRecord(
        request_id="b", step="ledger", transition="accepted", at=WRITTEN_AT, job=MEMBER
    )
    change = change_of_audit(encode(record))
    assert change is not None
    assert (change.request_id, change.introduces) == ("b", True)
    assert (change.batch, change.url, change.action) == (None, None, None)


@pytest.mark.parametrize("transition", ["retrying", "parked"])
def test_retry_has_its_error_and_due_time(transition: Any) -> None:
    due = datetime(2030, 1, 1, tzinfo=UTC)
    detail = {"code": "network.timeout", "due": due.isoformat(), "step": "download"}
    change = audited(JOB, "recovery", transition, detail=detail)
    assert (change.state, change.error, change.step) == (transition, "network.timeout", "download")
    assert not change.introduces
    assert change.due == due.timestamp()


@pytest.mark.parametrize("due", ["soon", "", "9999-12-31T23:59:59-14:00"])
def test_due_time_of_a_foreign_producer_is_ignored(due: str) -> None:
    change = audited(JOB, "recovery", "retrying", detail={"code": "x", "due": due})
    assert change.due is None


@pytest.mark.parametrize("transition", ["ordered", "repeated", "member_decided", "finished"])
def test_other_transitions_leave_the_state(transition: Any) -> None:
    change = audited(JOB, "ledger", transition)
    assert (change.state, change.step, change.is_final) == (None, None, False)
    assert change.event is not None


def test_completed_result_is_final_and_names_the_post() -> None:
    result = completed(JOB, INFO, cache="hit", engine=ENGINE)
    change = change_of_result(encode(result))
    assert change is not None
    assert (change.state, change.is_final, change.error) == ("completed", True, None)
    assert (change.video, change.received_at, change.event) == (VIDEO.key, RECEIVED, None)


def test_failed_result_has_its_error_and_step() -> None:
    error = explain(ErrorCode.CONTENT_PRIVATE, operation="extraction", url=URL)
    change = change_of_result(encode(error_result(JOB, error)))
    assert change is not None
    assert (change.state, change.error, change.step) == ("failed", "content.private", "extraction")
    assert change.message == error.user_message


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({}, None),
        ({"reason": "x", "host": "h"}, {"reason": "x", "host": "h"}),
        ({"r": "x" * 9_000, "host": "h"}, {"r": "x" * (DETAILS_CHARACTERS_MAX - 1)}),
        ({"x" * 9_000: ""}, None),
        ({str(n): "" for n in range(9_000)}, {str(n): "" for n in range(1_277)}),
    ],
    ids=["none", "few", "long value", "long name", "many"],
)
def test_technical_details_of_an_error_are_bounded(
    details: dict[str, str], expected: dict[str, str] | None
) -> None:
    error = {"error_type": "c", "operation": "s", "technical_details": details}
    change = change_of_result(encode(RESULT | {"status": "failed", "error": error}))
    assert change is not None
    assert change.details == expected


def test_completed_result_names_author_and_title_of_the_post() -> None:
    info = msgspec.structs.replace(INFO, title="x" * 2_200, author=Author(name="ann"))
    change = change_of_result(encode(completed(JOB, info, cache="hit", engine=ENGINE)))
    assert change is not None
    assert (change.author, change.title) == ("ann", "x" * TITLE_CHARACTERS_MAX)


@pytest.mark.parametrize(
    ("author", "expected"),
    [
        ({}, None),
        ({"name": "", "display_name": "Ann B."}, "Ann B."),
        ({"name": "y" * 1_000}, "y" * AUTHOR_CHARACTERS_MAX),
    ],
)
def test_author_is_the_name_else_the_display_name(
    author: dict[str, str], expected: str | None
) -> None:
    video = {"id": "7", "platform": "p", "title": "", "author": author}
    change = change_of_result(encode(RESULT | {"video": video}))
    assert change is not None
    assert (change.author, change.title) == (expected, None)


def test_trace_id_is_that_of_the_records() -> None:
    assert audited(JOB, "validation", "accepted").trace_id == JOB.trace_id
    change = change_of_result(encode(RESULT | {"trace_id": "'><script>"}))
    assert change is not None
    assert change.trace_id is None


def test_summary_is_the_result_of_its_batch() -> None:
    summary = BatchFinished(
        request_id="b",
        batch_size=1,
        counts=BatchCounts(completed=1),
        received_at=WRITTEN_AT,
        finished_at=WRITTEN_AT,
        trace_id="0" * 32,
    )
    change = change_of_result(encode(summary))
    assert change is not None
    assert (change.request_id, change.state, change.is_final) == ("b", "batch_finished", True)


RESULT: dict[str, Any] = {
    "request_id": "r",
    "status": "completed",
    "received_at": "2026-01-01T00:00:00Z",
    "finished_at": "2026-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    "fields",
    [
        {"attempts": 2**63},
        {"attempts": -1},
        {"status": "\x1b[2J"},
        {"received_at": "0001-01-01T00:00:00+14:00"},
        {"finished_at": "9999-12-31T23:59:59-14:00"},
        {"request_id": "x" * 5_000},
        {"files": [{"uri": "u", "bytes": 2**53 + 1, "mime_type": "m"}]},
        {"files": [{"uri": "u", "bytes": -1, "mime_type": "m"}]},
    ],
)
def test_result_of_a_foreign_producer_is_ignored(fields: dict[str, Any]) -> None:
    assert change_of_result(encode(RESULT)) is not None
    assert change_of_result(encode(RESULT | fields)) is None


def test_text_that_is_too_long_for_a_url_is_cut() -> None:
    change = change_of_result(encode(RESULT | {"url": "x" * 1_000_000}))
    assert change is not None
    assert len(change.url or "") == TEXT_CHARACTERS_MAX


REJECTED = RESULT | {"status": "rejected", "url": ""}


def rejected_by(stage: str, **details: str) -> dict[str, Any]:
    error = {"error_type": "request.invalid", "operation": stage, "technical_details": details}
    return REJECTED | {"error": error}


@pytest.mark.parametrize(
    ("result", "command"),
    [
        (rejected_by("ledger", command="cancel", request_id="x"), ("cancel", "x")),
        (
            rejected_by("ledger", command="retry", request_id="x") | {"retry_of": "x"},
            ("retry", "x"),
        ),
        (rejected_by("ledger") | {"retry_of": "x"}, ("retry", "x")),
        (rejected_by("ledger"), ("cancel", None)),
        (rejected_by("commands", command="refresh"), ("refresh", None)),
        (rejected_by("commands"), (None, None)),
        (rejected_by("validation", command="cancel", request_id="x"), None),
        (rejected_by("ledger", command="cancel") | {"status": "failed"}, None),
        (REJECTED, None),
    ],
)
def test_rejected_command_is_told_from_a_rejected_request(
    result: dict[str, Any], command: tuple[str | None, str | None] | None
) -> None:
    change = change_of_result(encode(result))
    assert change is not None
    assert change.url is None
    found = None if change.command is None else (change.command.name, change.command.request_id)
    assert found == command


@pytest.mark.parametrize("command", [Cancel(id="c", request_id="x"), Retry(id="c", request_id="x")])
def test_command_that_the_ledger_rejects_is_recognised(command: Cancel | Retry) -> None:
    record = Incoming(
        topic="commands", partition=0, offset=0, key=b"", value=b"", headers=(), timestamp=0.0
    )
    proposed = decode(reject("c", command, "it is too late", record).value or b"", AuditRecord)
    change = change_of_result(bytes(proposed.outcome))
    assert change is not None
    name = "cancel" if isinstance(command, Cancel) else "retry"
    assert change.command == RejectedCommand(name=name, request_id="x")


@pytest.mark.parametrize("value", [b"", b"{}", b"[]", b"null", b'{"request_id": 7}', b"\xff"])
def test_record_of_a_foreign_producer_changes_nothing(value: bytes) -> None:
    assert change_of_audit(value) is None
    assert change_of_result(value) is None


def test_proposed_result_is_no_result_yet() -> None:
    result = completed(JOB, INFO, cache="hit", engine=ENGINE)
    change = change_of_audit(propose_result(JOB, "extraction", result, "c").value or b"")
    assert change is not None
    assert (change.state, change.is_final) == (None, False)


def test_proposed_result_for_a_reply_topic_is_final() -> None:
    job = msgspec.structs.replace(JOB, reply=Reply(topic="mine"))
    result = completed(job, INFO, cache="hit", engine=ENGINE)
    change = change_of_audit(propose_result(job, "extraction", result, "c").value or b"")
    assert change is not None
    assert (change.state, change.is_final) == ("completed", True)
    assert change.event is not None
    assert change.event.transition == "finished"
