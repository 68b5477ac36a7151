from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from agents.validation.pending import read_pending
from schemas.codec import encode
from schemas.errors import ClipmillError, ErrorCode
from schemas.events import PendingLink
from schemas.job import BatchMember, Job
from streams.envelope import open_envelope
from streams.records import Incoming
from streams.topics import REQUEST_BYTES_MAX
from tests.unit.agents.builders import (
    FUTURE,
    TRACE_ID,
    event_record,
    make_attempt,
    make_job,
    make_record,
    member_job,
)


def read(record: Incoming) -> Job:
    return read_pending(open_envelope(record), record)


def read_job(job: Job) -> Job:
    return read(event_record(PendingLink(job=job)))


@pytest.mark.parametrize(
    "job",
    [
        make_job(),
        member_job(),
        make_job(attempts=(make_attempt(),) * 3, timings={"validation": 1.5}),
        make_job(deadline=FUTURE, priority=0, attributes={"a": "b"}, retry_of="b/3", action="info"),
        make_job(request_id="requests-0-7-1767225600000"),
    ],
    ids=["single", "member", "with history", "with wishes", "without an id"],
)
def test_a_job_comes_back_as_it_was(job: Job) -> None:
    assert read_job(job) == job


SPOOFED: dict[str, Job] = {
    "id of no request": make_job(request_id="a b"),
    "id of a member": make_job(request_id="b/1"),
    "endless id": make_job(request_id="a" * 10_000),
    "id of another member": member_job(request_id="b1/2"),
    "place behind the batch": member_job(3, 3),
    "place before the batch": member_job(-1, 3),
    "batch too large": member_job(1, 5_000),
    "batch without a good id": make_job(
        request_id="a/b/0", batch=BatchMember(id="a/b", index=0, size=1)
    ),
    "endless url": make_job(url="u" * 3_000),
    "endless attribute": make_job(attributes={"a": "b" * 2_000}),
    "many attributes": make_job(attributes={str(number): "" for number in range(40)}),
    "priority of nobody": make_job(priority=1_000),
    "endless retry_of": make_job(retry_of="a" * 200),
    "deadline without a zone": make_job(deadline=datetime(2999, 1, 1)),  # noqa: DTZ001
    "arrival without a zone": make_job(received_at=datetime(2999, 1, 1)),  # noqa: DTZ001
}


@pytest.mark.parametrize("name", SPOOFED)
def test_what_no_request_leads_to_is_refused(name: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        read_job(SPOOFED[name])
    assert caught.value.code is ErrorCode.REQUEST_INVALID
    assert caught.value.details["field"].startswith("$")


def test_what_is_too_large_is_refused() -> None:
    job = make_job(timings={str(number): 1.0 for number in range(REQUEST_BYTES_MAX // 8)})
    with pytest.raises(ClipmillError) as caught:
        read_job(job)
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"null", b'{"job":{}}', b'{"url":"u"}'])
def test_other_bodies_are_refused(body: bytes) -> None:
    with pytest.raises(ClipmillError):
        read(make_record(body))


def test_unknown_options_are_refused() -> None:
    body = msgspec.json.decode(encode(PendingLink(job=make_job())), type=dict[str, Any])
    body["job"]["options"]["proxy"] = "http://evil.example"
    with pytest.raises(ClipmillError) as caught:
        read(make_record(msgspec.json.encode(body)))
    assert caught.value.details["field"] == "$.job.options.proxy"


def test_nobody_arrives_later_than_the_record_was_written() -> None:
    assert read_job(make_job(received_at=FUTURE)).received_at < datetime.now(UTC)


def test_the_trace_is_that_of_the_envelope() -> None:
    record = event_record(PendingLink(job=make_job()))
    spoofed = make_record(
        encode(PendingLink(job=make_job(trace_id="\r\nx: y"))), headers=record.headers
    )
    assert read(spoofed).trace_id == TRACE_ID
