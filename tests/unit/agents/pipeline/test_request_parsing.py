import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.pipeline.request_parsing import (
    MAX_CAUSE_CHARACTERS,
    cause_of,
    clip,
    field_of,
    is_json,
    jobs_of,
    read_request,
    recover_identity,
)
from schemas.errors import ClipmillError, ErrorCode
from schemas.job import BatchMember, Job
from schemas.request import MAX_BATCH_URLS, MAX_URL_CHARACTERS, Request
from streams.envelope import STRUCTURED, open_envelope
from streams.records import Incoming
from streams.topics import REQUEST_BYTES_MAX
from tests.unit.agents.builders import (
    FUTURE,
    TRACE_ID,
    TRACEPARENT,
    URL,
    WRITTEN_AT,
    make_job,
    make_record,
    member_job,
    request,
)

STRUCTURED_HEADER = ("content-type", STRUCTURED.encode())


def structured(data: object, **fields: object) -> Incoming:
    event = {"specversion": "1.0", "id": "event-1", "source": "/me", "type": "ask", "data": data}
    return make_record(msgspec.json.encode({**event, **fields}), headers=[STRUCTURED_HEADER])


def structured_base64(data: bytes) -> Incoming:
    event = {"specversion": "1.0", "id": "event-1", "source": "/me", "type": "ask"}
    body = {**event, "data_base64": base64.b64encode(data).decode()}
    return make_record(msgspec.json.encode(body), headers=[STRUCTURED_HEADER])


def parse(record: Incoming) -> Request:
    return read_request(open_envelope(record))


def parse_jobs(record: Incoming) -> list[Job]:
    return jobs_of(parse(record), open_envelope(record), record)


def parse_error(record: Incoming) -> ClipmillError:
    with pytest.raises(ClipmillError) as caught:
        parse(record)
    return caught.value


BODY = {"id": "mine", "url": URL}

FORMS = {
    "bare": request(BODY),
    "bare without key": request(BODY, key=None),
    "binary": request(
        BODY,
        headers=[("ce_specversion", b"1.0"), ("ce_id", b"e"), ("ce_type", b"com.example.ask")],
    ),
    "structured": structured(BODY),
    "structured, with charset": make_record(
        structured(BODY).value,
        headers=[("content-type", f"{STRUCTURED}; charset=utf-8".encode())],
    ),
    "structured, base64": structured_base64(msgspec.json.encode(BODY)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_encoding_parses_to_the_same_request(form: str) -> None:
    assert parse(FORMS[form]) == Request(id="mine", url=URL)


INVALID_REQUESTS: dict[str, tuple[Any, str, str]] = {
    "neither url nor urls": ({}, "$.url", "exactly one of"),
    "both url and urls": ({"url": URL, "urls": [URL]}, "$.url", "exactly one of"),
    "url null": ({"url": None}, "$.url", "exactly one of"),
    "not an object": ([URL], "$", "object"),
    "a string": (URL, "$", "object"),
    "unknown field": ({"url": URL, "cookies": "x"}, "$.cookies", "unknown field"),
    "unknown option": ({"url": URL, "options": {"proxy": "x"}}, "$.options.proxy", "unknown field"),
    "unknown quality": ({"url": URL, "options": {"quality": "8k"}}, "$.options.quality", "8k"),
    "max_bytes 0": ({"url": URL, "options": {"max_bytes": 0}}, "$.options.max_bytes", "1"),
    "empty batch": ({"urls": []}, "$.urls", "1 to 1000"),
    "huge batch": ({"urls": [URL] * (MAX_BATCH_URLS + 1)}, "$.urls", "1001"),
    "url not a string": ({"url": 7}, "$.url", "a text"),
    "urls not a list": ({"urls": URL}, "$.urls", "a list"),
    "slash in the id": ({"url": URL, "id": "a/b"}, "$.id", "letters, digits and ._:~@+=-"),
    "empty id": ({"url": URL, "id": ""}, "$.id", "letters, digits and ._:~@+=-"),
    "long id": ({"url": URL, "id": "a" * 129}, "$.id", "letters, digits and ._:~@+=-"),
    "deadline without zone": (
        {"url": URL, "deadline": "2999-01-01T00:00:00"},
        "$.deadline",
        "zone",
    ),
    "deadline not a time": ({"url": URL, "deadline": "soon"}, "$.deadline", "2026-12-01T18:00:00Z"),
    "priority 10": ({"url": URL, "priority": 10}, "$.priority", "9"),
    "attribute not a string": ({"url": URL, "attributes": {"a": 1}}, "$.attributes.a", "a text"),
    "too many attributes": (
        {"url": URL, "attributes": {str(number): "" for number in range(33)}},
        "$.attributes",
        "32",
    ),
    "long attribute": ({"url": URL, "attributes": {"a": "b" * 1025}}, "$.attributes.a", "1024"),
    "unknown action": ({"url": URL, "action": "delete"}, "$.action", "delete"),
}


@pytest.mark.parametrize("name", INVALID_REQUESTS)
def test_invalid_request_is_rejected_with_field_and_reason(name: str) -> None:
    body, field, reason = INVALID_REQUESTS[name]
    error = parse_error(request(body))
    assert error.code is ErrorCode.REQUEST_INVALID
    assert error.details["field"] == field
    assert reason in error.message


@pytest.mark.parametrize("value", [URL.encode(), b" http://x\n"])
def test_bare_url_is_rejected_with_the_form_of_a_request(value: bytes) -> None:
    error = parse_error(make_record(value))
    assert error.details["field"] == "$"
    assert 'a URL alone is not a request: send {"url": "https://…"}' in error.message


@pytest.mark.parametrize(
    "body",
    [
        {"url": URL, "x" * 900_000: 1},
        {"url": URL, "options": {"quality": "x" * 900_000}},
        {"url": URL, "a - at `" + "x" * 900_000: 1},
    ],
    ids=["name", "value", "path"],
)
def test_rejection_message_is_bounded(body: dict[str, Any]) -> None:
    error = parse_error(request(body))
    assert len(error.message) + len(error.details["field"]) < 1_000


def test_request_size_limit_is_exact() -> None:
    overhead = len(msgspec.json.encode({"url": ""}))
    fits = request({"url": "u" * (REQUEST_BYTES_MAX - overhead)})
    assert len(fits.value or b"") == REQUEST_BYTES_MAX
    assert parse(fits).url
    error = parse_error(request({"url": "u" * (REQUEST_BYTES_MAX - overhead + 1)}))
    assert error.code is ErrorCode.REQUEST_TOO_LARGE
    assert str(REQUEST_BYTES_MAX) in error.message


def test_job_carries_all_fields_of_the_request() -> None:
    body = {
        "id": "mine",
        "url": URL,
        "action": "info",
        "options": {"quality": "480p"},
        "deadline": FUTURE.isoformat(),
        "priority": 9,
        "attributes": {"a": "b"},
        "retry_of": "earlier",
    }
    (job,) = parse_jobs(request(body, headers=[("traceparent", TRACEPARENT.encode())]))
    assert job == Job(
        request_id="mine",
        url=URL,
        action="info",
        options=job.options,
        received_at=WRITTEN_AT,
        trace_id=TRACE_ID,
        deadline=FUTURE,
        priority=9,
        attributes={"a": "b"},
        retry_of="earlier",
    )
    assert job.options.quality == "480p"


def test_request_without_an_id_gets_the_record_id() -> None:
    (job,) = parse_jobs(request({"url": URL}, offset=42))
    assert job.request_id == "requests-0-42-1767225600000"


def test_batch_members_have_index_and_size() -> None:
    found = parse_jobs(request({"id": "b", "urls": [URL, URL, URL]}))
    assert [job.request_id for job in found] == ["b/0", "b/1", "b/2"]
    assert [job.batch for job in found] == [BatchMember(id="b", index=i, size=3) for i in range(3)]


def test_batch_of_one_is_a_batch() -> None:
    (job,) = parse_jobs(request({"urls": [URL]}, offset=5))
    assert job.request_id == "requests-0-5-1767225600000/0"
    assert job.batch == BatchMember(id="requests-0-5-1767225600000", index=0, size=1)


@pytest.mark.parametrize("member", [None, 7, True, [], {}, 1.5, ["x"]], ids=repr)
def test_batch_members_that_are_not_strings_have_an_empty_url(member: object) -> None:
    assert [job.url for job in parse_jobs(request({"urls": [member, URL]}))] == ["", URL]


def test_envelope_deadline_applies() -> None:
    header = ("ce_expirytime", FUTURE.isoformat().encode())
    (job,) = parse_jobs(request({"url": URL}, headers=[header]))
    assert job.deadline == FUTURE


def test_body_deadline_overrides_the_envelope() -> None:
    header = ("ce_expirytime", b"2020-01-01T00:00:00Z")
    (job,) = parse_jobs(request({"url": URL, "deadline": FUTURE.isoformat()}, headers=[header]))
    assert job.deadline == FUTURE


def test_long_url_is_truncated() -> None:
    (job,) = parse_jobs(request({"url": "u" * 100_000}))
    assert len(job.url) == MAX_URL_CHARACTERS


@pytest.mark.parametrize(
    ("value", "request_id", "url"),
    [
        (b'{"id":"mine","url":"u","x":1}', "mine", "u"),
        (b'{"id":"not mine!","url":"u"}', "requests-0-7-1767225600000", "u"),
        (b'{"id":7,"url":7}', "7", ""),
        (b'{"id":7.0,"url":7}', "requests-0-7-1767225600000", ""),
        (b'["id"]', "requests-0-7-1767225600000", ""),
        (b"null", "requests-0-7-1767225600000", ""),
        (b"\xff\xfe", "requests-0-7-1767225600000", ""),
        (b"", "requests-0-7-1767225600000", ""),
        (None, "requests-0-7-1767225600000", ""),
        (b"[" * 100_000, "requests-0-7-1767225600000", ""),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_recover_identity_of_malformed_requests(
    value: bytes | None, request_id: str, url: str
) -> None:
    identity = recover_identity(make_record(value), None)
    assert (identity.request_id, identity.url, identity.attributes) == (request_id, url, {})


def test_valid_attributes_are_recovered() -> None:
    assert recover_identity(request({"attributes": {"a": "b"}}), None).attributes == {"a": "b"}
    assert recover_identity(request({"attributes": {"a": 1}}), None).attributes == {}


def test_id_of_an_invalid_envelope_is_not_the_request_id() -> None:
    identity = recover_identity(structured(BODY, specversion="0.3"), None)
    assert (identity.request_id, identity.url) == ("mine", URL)


def test_identity_is_recovered_from_structured_data() -> None:
    record = structured({**BODY, "unknown": 1})
    assert recover_identity(record, open_envelope(record)).request_id == "mine"


@pytest.mark.parametrize("text", ["", "u", "u" * 2_048, "u" * 2_049, None, 7, ["u"]])
def test_clip_returns_bounded_strings(text: object) -> None:
    assert len(clip(text)) <= MAX_URL_CHARACTERS


@pytest.mark.parametrize(
    ("given", "published"),
    [
        ("https://me:secret@www.tiktok.com/@a", "https://***@www.tiktok.com/@a"),
        ("https://me@sec@ret@www.tiktok.com/", "https://***@www.tiktok.com/"),
        ("//me:secret@host", "//***@host"),
        ("https://www.tiktok.com/@a/video/1?t=@b", "https://www.tiktok.com/@a/video/1?t=@b"),
        ("https://www.tiktok.com/@a/video/1", "https://www.tiktok.com/@a/video/1"),
    ],
)
def test_clip_removes_a_login(given: str, published: str) -> None:
    assert clip(given) == published


def test_field_of_names_the_batch_index() -> None:
    assert field_of(make_job()) == "$.url"
    assert field_of(member_job(2)) == "$.urls[2]"


def test_cause_is_the_event_of_the_client() -> None:
    record = structured(BODY)
    assert cause_of(open_envelope(record), record) == "event-1"


def test_too_long_event_id_is_replaced_by_the_record_id() -> None:
    record = structured(BODY, id="e" * (MAX_CAUSE_CHARACTERS + 1))
    assert cause_of(open_envelope(record), record) == record.record_id


@pytest.mark.parametrize(
    ("data", "readable"),
    [(b"{}", True), (b"null", True), (b"", False), (None, False), (b"{", False), (b"\xff", False)],
)
def test_is_json_accepts_valid_json_only(data: bytes | None, readable: bool) -> None:
    assert is_json(data) is readable


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
FIELDS = st.sampled_from(
    ["id", "url", "urls", "action", "options", "deadline", "priority", "attributes", "retry_of"]
)


@given(st.dictionaries(FIELDS, JSON | st.just(URL) | st.just([URL, 7])))
def test_any_body_is_parsed_or_rejected(body: dict[str, Any]) -> None:
    record = make_record(msgspec.json.encode(body))
    found: list[Job] = []
    rejection: ClipmillError | None = None
    try:
        found = parse_jobs(record)
    except ClipmillError as error:
        rejection = error
    assert (rejection is None) is (len(found) >= 1)
    assert rejection is None or rejection.code is ErrorCode.REQUEST_INVALID
    assert len({job.request_id for job in found}) == len(found)
    assert all(len(job.url) <= MAX_URL_CHARACTERS for job in found)
