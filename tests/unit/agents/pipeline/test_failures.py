import pytest

from agents.pipeline.failures import as_bug, unreadable
from agents.pipeline.ownership import REQUEST_ID_CHARACTERS
from agents.pipeline.results import FACT_CHARACTERS
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
def test_a_traceback_holds_no_secrets(text: str) -> None:
    bug = as_bug(_raised(ValueError(text)))
    assert "s3cret" not in str(bug.details)
    assert "ValueError" in bug.details["traceback"]
    assert "://" in bug.details["traceback"]


def test_a_secret_is_not_cut_free_of_its_url() -> None:
    text = f"https://h.example/?sig={'s3cret' * 2_000}"
    assert "s3cret" not in as_bug(ValueError(text)).details["traceback"]


def test_a_traceback_is_bounded_and_keeps_its_end() -> None:
    bug = as_bug(ValueError("x" * 100_000 + "the end"))
    assert len(bug.details["traceback"]) == FACT_CHARACTERS
    assert bug.details["traceback"].rstrip().endswith("the end")


def garbled(**fields: object) -> bytes:
    return encode({"video": 7, **fields})


def test_what_cannot_be_read_ends_as_whose_it_was() -> None:
    event = member_job(attributes={"a": "b"}, attempts=(make_attempt(),))
    record = make_record(garbled(job=event), topic=VALIDATED)
    effects = unreadable(record, ValueError("oops"), "extraction")
    found = outcome(effects)
    assert isinstance(found, Failed)
    assert (found.request_id, found.batch_id, found.url) == ("b1/1", "b1", URL)
    assert (found.attributes, found.attempts, found.trace_id) == ({"a": "b"}, 1, TRACE_ID)
    assert [each.value for each in dead_letters(effects)] == [record.value]


def test_without_a_job_the_header_tells_whose_it_was() -> None:
    record = make_record(b"\xff", headers=[("ce_correlationid", b"r9")])
    effects = unreadable(record, ValueError("oops"), "extraction")
    assert outcome(effects).request_id == "r9"
    assert len(dead_letters(effects)) == 1


@pytest.mark.parametrize(
    "value", [b"", b"\xff", b"r" * (REQUEST_ID_CHARACTERS + 1)], ids=["empty", "no text", "endless"]
)
def test_an_id_that_is_none_is_not_believed(value: bytes) -> None:
    record = make_record(b"\xff", headers=[("ce_correlationid", value)])
    effects = unreadable(record, ValueError("oops"), "extraction")
    assert effects == dead_letters(effects)
    assert len(effects) == 1


def test_what_cannot_be_read_tells_no_secrets() -> None:
    record = make_record(b"", headers=[("ce_correlationid", b"r9")])
    error = ValueError("https://h.example/?sig=s3cret" + "x" * 100_000)
    found = outcome(unreadable(record, error, "extraction"))
    assert "s3cret" not in str(found)
    assert len(encode(found)) < 10_000
