from datetime import timedelta

import pytest

from agents.pipeline.results import completed, details_of, error_result, expired, is_expired
from schemas.codec import decode, encode
from schemas.error_catalog import explain
from schemas.errors import ClipmillError, ErrorCode
from schemas.results import Cancelled, Completed, Expired, Failed, Outcome, Rejected, Result
from tests.unit.agents.builders import (
    ENGINE,
    INFO,
    PAST,
    TRACE_ID,
    URL,
    make_attempt,
    make_job,
    member_job,
)

KINDS = {
    ErrorCode.REQUEST_INVALID: Rejected,
    ErrorCode.REQUEST_TOO_LARGE: Rejected,
    ErrorCode.REQUEST_EXPIRED: Expired,
    ErrorCode.REQUEST_CANCELLED: Cancelled,
}


@pytest.mark.parametrize("code", ErrorCode)
def test_error_code_decides_the_result_type(code: ErrorCode) -> None:
    job = make_job(attempts=(make_attempt(), make_attempt()))
    found = error_result(job, explain(code, operation="extraction", url=URL))
    assert type(found) is KINDS.get(code, Failed)
    assert found.attempts == 2


OUTCOMES = [
    pytest.param(completed(member_job(2), INFO, cache="hit", engine=ENGINE), id="completed"),
    *(
        pytest.param(
            error_result(member_job(2), explain(code, operation="x", url=URL)),
            id=code,
        )
        for code in (*KINDS, ErrorCode.NETWORK_DNS)
    ),
]


@pytest.mark.parametrize("found", OUTCOMES)
def test_every_outcome_identifies_its_request(found: Outcome) -> None:
    assert (found.request_id, found.url, found.trace_id) == ("b1/2", URL, TRACE_ID)
    assert (found.batch_id, found.batch_index, found.batch_size) == ("b1", 2, 3)


@pytest.mark.parametrize("found", OUTCOMES)
def test_every_outcome_survives_serialization(found: Outcome) -> None:
    assert decode(encode(found), Result) == found  # type: ignore[arg-type]


def test_fields_of_the_client_are_echoed() -> None:
    job = make_job(attributes={"a": "b"}, retry_of="old", timings={"validation": 0.5})
    found = completed(job, INFO, cache="miss", engine=ENGINE)
    assert (found.attributes, found.retry_of) == ({"a": "b"}, "old")
    assert found.timings == {"validation": 0.5}
    assert (found.batch_id, found.batch_index, found.batch_size) == (None, None, None)


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_success_counts_as_one_more_attempt(failures: int) -> None:
    job = make_job(attempts=(make_attempt(),) * failures)
    found = completed(job, INFO, cache="miss", engine=ENGINE)
    assert isinstance(found, Completed)
    assert (found.attempts, len(found.recovery)) == (failures + 1, failures)


def test_expired_names_the_deadline() -> None:
    found = expired(make_job(deadline=PAST), "download")
    assert isinstance(found, Expired)
    assert found.error.operation == "download"
    assert found.error.technical_details == {"deadline": PAST.isoformat()}


@pytest.mark.parametrize(("seconds", "over"), [(-1, False), (0, True), (1, True)])
def test_job_is_expired_at_its_deadline(seconds: int, over: bool) -> None:
    job = make_job(deadline=PAST)
    assert is_expired(job, PAST + timedelta(seconds=seconds)) is over


def test_job_without_a_deadline_never_expires() -> None:
    assert not is_expired(make_job(), PAST)


def test_message_is_the_reason_unless_the_details_have_one() -> None:
    assert details_of(ClipmillError(ErrorCode.NETWORK_DNS, "m")) == {"reason": "m"}
    with_reason = ClipmillError(ErrorCode.NETWORK_DNS, "m", reason="r", host="h")
    assert details_of(with_reason) == {"reason": "r", "host": "h"}
