from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from agents.validation.requested_jobs import read_pending
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


def job_of_record(record: Incoming) -> Job:
    return read_pending(open_envelope(record), record)


def job_after_round_trip(job: Job) -> Job:
    return job_of_record(event_record(PendingLink(job=job)))


@pytest.mark.parametrize(
    "job",
    [
        make_job(),
        member_job(),
        make_job(attempts=(make_attempt(),) * 3, timings={"validation": 1.5}),
        make_job(deadline=FUTURE, priority=0, attributes={"a": "b"}, retry_of="b/3", action="info"),
        make_job(request_id="requests-0-7-1767225600000"),
    ],
    ids=["single", "member", "with history", "with options", "without an id"],
)
def test_pending_job_survives_a_round_trip(job: Job) -> None:
    assert job_after_round_trip(job) == job


SPOOFED: dict[str, Job] = {
    "invalid id": make_job(request_id="a b"),
    "id of a member": make_job(request_id="b/1"),
    "too long id": make_job(request_id="a" * 10_000),
    "id of another member": member_job(request_id="b1/2"),
    "index beyond the batch": member_job(3, 3),
    "negative index": member_job(-1, 3),
    "batch too large": member_job(1, 5_000),
    "batch with an invalid id": make_job(
        request_id="a/b/0", batch=BatchMember(id="a/b", index=0, size=1)
    ),
    "too long url": make_job(url="u" * 3_000),
    "too long attribute": make_job(attributes={"a": "b" * 2_000}),
    "too many attributes": make_job(attributes={str(number): "" for number in range(40)}),
    "priority out of range": make_job(priority=1_000),
    "too long retry_of": make_job(retry_of="a" * 200),
    "deadline without a zone": make_job(deadline=datetime(2999, 1, 1)),  # noqa: DTZ001
    "arrival without a zone": make_job(received_at=datetime(2999, 1, 1)),  # noqa: DTZ001
}


@pytest.mark.parametrize("name", SPOOFED)
def test_spoofed_job_is_rejected(name: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        job_after_round_trip(SPOOFED[name])
    assert caught.value.code is ErrorCode.REQUEST_INVALID
    assert caught.value.details["field"].startswith("$")


def test_too_large_job_is_rejected() -> None:
    job = make_job(timings={str(number): 1.0 for number in range(REQUEST_BYTES_MAX // 8)})
    with pytest.raises(ClipmillError) as caught:
        job_after_round_trip(job)
    assert caught.value.code is ErrorCode.REQUEST_TOO_LARGE


@pytest.mark.parametrize("body", [b"", b"\xff", b"{}", b"null", b'{"job":{}}', b'{"url":"u"}'])
def test_malformed_bodies_are_rejected(body: bytes) -> None:
    with pytest.raises(ClipmillError):
        job_of_record(make_record(body))


def test_unknown_options_are_rejected() -> None:
    body = msgspec.json.decode(encode(PendingLink(job=make_job())), type=dict[str, Any])
    body["job"]["options"]["proxy"] = "http://evil.example"
    with pytest.raises(ClipmillError) as caught:
        job_of_record(make_record(msgspec.json.encode(body)))
    assert caught.value.details["field"] == "$.job.options.proxy"


def test_arrival_time_is_capped_by_the_record_timestamp() -> None:
    assert job_after_round_trip(make_job(received_at=FUTURE)).received_at < datetime.now(UTC)


def test_trace_id_comes_from_the_envelope() -> None:
    record = event_record(PendingLink(job=make_job()))
    spoofed = make_record(
        encode(PendingLink(job=make_job(trace_id="\r\nx: y"))), headers=record.headers
    )
    assert job_of_record(spoofed).trace_id == TRACE_ID
