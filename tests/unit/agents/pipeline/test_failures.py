import pytest

from agents.pipeline.failures import REQUEST_ID_CHARACTERS, as_bug, on_unreadable
from agents.pipeline.results import DETAIL_CHARACTERS_MAX
from schemas.codec import encode
from schemas.results import Failed
from streams.topics import VALIDATED
from tests.unit.agents.builders import (
    TRACE_ID,
    URL,
    dead_letters,
    make_attempt,
    make_record,
    member_job,
    outcome,
)


def _raised(error: Exception) -> Exception:
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.mark.parametrize(
    "text",
    [
        "https://user:s3cret@host.example/page",
        "http://proxy:s3cret@10.0.0.1:8080",
        "GET https://v16.example/x?a=1&sig=s3cret failed",
        "'https://v16.example/x#s3cret'",
        "https://h.example?sig=s3cret",
    ],
)
def test_traceback_contains_no_secrets(text: str) -> None:
    bug = as_bug(_raised(ValueError(text)))
    assert "s3cret" not in str(bug.details)
    assert "ValueError" in bug.details["traceback"]
    assert "://" in bug.details["traceback"]


def test_truncation_does_not_separate_a_secret_from_its_url() -> None:
    text = f"https://h.example/?sig={'s3cret' * 2_000}"
    assert "s3cret" not in as_bug(ValueError(text)).details["traceback"]


def test_traceback_is_bounded_and_keeps_its_end() -> None:
    bug = as_bug(ValueError("x" * 100_000 + "the end"))
    assert len(bug.details["traceback"]) == DETAIL_CHARACTERS_MAX
    assert bug.details["traceback"].rstrip().endswith("the end")


def malformed_event(**fields: object) -> bytes:
    return encode({"video": 7, **fields})


def test_undecodable_event_ends_the_request_of_its_job() -> None:
    event = member_job(attributes={"a": "b"}, attempts=(make_attempt(),))
    record = make_record(malformed_event(job=event), topic=VALIDATED)
    effects = on_unreadable(record, ValueError("oops"), "extraction")
    found = outcome(effects)
    assert isinstance(found, Failed)
    assert (found.request_id, found.batch_id, found.url) == ("b1/1", "b1", URL)
    assert (found.attributes, found.attempts, found.trace_id) == ({"a": "b"}, 1, TRACE_ID)
    assert [each.value for each in dead_letters(effects)] == [record.value]


def test_undecodable_event_without_a_job_ends_the_request_of_its_header() -> None:
    record = make_record(b"\xff", headers=[("ce_correlationid", b"r9")])
    effects = on_unreadable(record, ValueError("oops"), "extraction")
    assert outcome(effects).request_id == "r9"
    assert len(dead_letters(effects)) == 1


@pytest.mark.parametrize(
    "value",
    [b"", b"\xff", b"r" * (REQUEST_ID_CHARACTERS + 1)],
    ids=["empty", "invalid UTF-8", "too long"],
)
def test_invalid_correlation_id_is_ignored(value: bytes) -> None:
    record = make_record(b"\xff", headers=[("ce_correlationid", value)])
    effects = on_unreadable(record, ValueError("oops"), "extraction")
    assert effects == dead_letters(effects)
    assert len(effects) == 1


def test_result_of_an_undecodable_event_contains_no_secrets() -> None:
    record = make_record(b"", headers=[("ce_correlationid", b"r9")])
    error = ValueError("https://h.example/?sig=s3cret" + "x" * 100_000)
    found = outcome(on_unreadable(record, error, "extraction"))
    assert "s3cret" not in str(found)
    assert len(encode(found)) < 10_000
