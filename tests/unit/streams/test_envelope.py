import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import MalformedMessageError
from streams.envelope import Envelope, open_envelope, seal, trace_id_of
from streams.records import Header, Incoming, Outgoing
from streams.topics import VALIDATED
from tests.unit.streams.records import incoming

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
STRUCTURED: Header = ("content-type", b"application/cloudevents+json; charset=UTF-8")
EVENT = {"specversion": "1.0", "id": "e1", "source": "/client", "type": "t"}


def structured(**fields: Any) -> Incoming:
    return incoming(json.dumps(EVENT | fields).encode(), headers=[STRUCTURED])


def binary(**headers: str) -> Incoming:
    return incoming(headers=[(name, value.encode()) for name, value in headers.items()])


def test_bare_json_gets_the_record_id() -> None:
    opened = open_envelope(incoming(b'{"url": 1}'))
    assert opened == Envelope(
        id=incoming(b'{"url": 1}').record_id,
        type="",
        correlation_id=None,
        expires=None,
        trace_id=opened.trace_id,
        data=b'{"url": 1}',
    )


def test_binary_mode_is_decoded() -> None:
    record = binary(
        ce_specversion="1.0",
        ce_id="e1",
        ce_type="io.clipmill.x.v1",
        ce_correlationid="r1",
        ce_expirytime="2030-01-02T03:04:05Z",
        traceparent=PARENT,
    )
    assert open_envelope(record) == Envelope(
        id="e1",
        type="io.clipmill.x.v1",
        correlation_id="r1",
        expires=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
        trace_id=TRACE,
        data=b"{}",
    )


def test_structured_mode_is_decoded() -> None:
    record = structured(
        data={"a": [1, 2]},
        correlationid="r1",
        expirytime="2030-01-02T03:04:05+02:00",
        traceparent=PARENT,
        extension="ignored",
    )
    opened = open_envelope(record)
    assert json.loads(opened.data) == {"a": [1, 2]}
    assert (opened.id, opened.type, opened.correlation_id) == ("e1", "t", "r1")
    assert opened.expires == datetime(2030, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert opened.trace_id == TRACE


def test_base64_data_of_structured_mode_is_decoded() -> None:
    encoded = base64.b64encode(b'{"a": 1}').decode()
    assert open_envelope(structured(data_base64=encoded)).data == b'{"a": 1}'


def test_media_type_is_case_insensitive() -> None:
    record = incoming(
        json.dumps(EVENT | {"data": 1}).encode(),
        headers=[("content-type", b"Application/CloudEvents+JSON")],
    )
    assert open_envelope(record).data == b"1"


def test_structured_event_may_carry_its_trace_in_a_header() -> None:
    record = incoming(
        json.dumps(EVENT).encode(), headers=[STRUCTURED, ("traceparent", PARENT.encode())]
    )
    assert open_envelope(record).trace_id == TRACE


@pytest.mark.parametrize(
    ("record", "field", "reason"),
    [
        pytest.param(incoming(None), "$", "no value", id="null"),
        pytest.param(
            incoming(headers=[("content-type", b"application/cloudevents-batch+json")]),
            "header content-type",
            "not supported, use application/cloudevents+json",
            id="batch mode",
        ),
        pytest.param(
            binary(ce_specversion="0.3"), "header ce_specversion", "use 1.0", id="old version"
        ),
        pytest.param(
            binary(ce_expirytime="tomorrow"),
            "header ce_expirytime",
            "such as 2026-12-01T18:00:00Z",
            id="time",
        ),
        pytest.param(
            binary(ce_expirytime="2030-01-02T03:04:05"),
            "header ce_expirytime",
            "such as 2026-12-01T18:00:00Z",
            id="local time",
        ),
        pytest.param(
            binary(ce_expirytime="9" * 100_000),
            "header ce_expirytime",
            "such as 2026-12-01T18:00:00Z",
            id="long time",
        ),
        pytest.param(incoming(b"", headers=[STRUCTURED]), "$", "not JSON", id="empty structured"),
        pytest.param(
            incoming(b"\xff\xfe", headers=[STRUCTURED]), "$", "not JSON", id="undecodable"
        ),
        pytest.param(incoming(b"[]", headers=[STRUCTURED]), "$", "allowed: an object", id="array"),
        pytest.param(
            incoming(b"[" * 200_000, headers=[STRUCTURED]), "$", "", id="nested too deeply"
        ),
        pytest.param(
            incoming(b'{"specversion": "1.0"}', headers=[STRUCTURED]),
            "$.id",
            "is missing",
            id="no id",
        ),
        pytest.param(structured(id=5), "$.id", "got 5; allowed: a text", id="id is a number"),
        pytest.param(structured(id=""), "$.id", "got ''; allowed: a text", id="id is empty"),
        pytest.param(
            structured(specversion="2.0"), "$.specversion", "use 1.0", id="structured version"
        ),
        pytest.param(
            structured(expirytime="soon"),
            "$.expirytime",
            "such as 2026-12-01T18:00:00Z",
            id="expiry",
        ),
        pytest.param(structured(data_base64="ä"), "$.data_base64", "not base64", id="not ASCII"),
        pytest.param(structured(data_base64="a"), "$.data_base64", "not base64", id="padding"),
        pytest.param(structured(data_base64="a b="), "$.data_base64", "not base64", id="space"),
    ],
)
def test_malformed_envelope_error_names_the_field(
    record: Incoming, field: str, reason: str
) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        open_envelope(record)
    assert caught.value.field == field
    assert reason in caught.value.reason
    assert len(caught.value.reason) < 300


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "garbage",
        f"00-{TRACE}",
        f"00-{TRACE}-00f067aa0ba902b7",
        f"00-{'0' * 32}-00f067aa0ba902b7-01",
        f"00-{TRACE.upper()}-00f067aa0ba902b7-01",
        f"00-{TRACE[:-1]}-00f067aa0ba902b7-01",
        f"00-{TRACE[:-1]}g-00f067aa0ba902b7-01",
    ],
)
def test_invalid_traceparent_is_replaced_by_a_digest_of_the_record_id(parent: str) -> None:
    made = open_envelope(binary(traceparent=parent)).trace_id
    assert made == open_envelope(incoming()).trace_id == trace_id_of(incoming(None))
    assert made != open_envelope(incoming(offset=8)).trace_id
    assert len(bytes.fromhex(made)) == 16


def test_trace_id_is_read_from_a_record_without_value() -> None:
    assert trace_id_of(incoming(None, headers=[("traceparent", PARENT.encode())])) == TRACE


header_names = st.sampled_from(
    ["content-type", "ce_specversion", "ce_id", "ce_type", "ce_expirytime", "traceparent", "x"]
)
header_values = st.one_of(
    st.none(),
    st.binary(max_size=60),
    st.sampled_from([b"1.0", b"application/cloudevents+json", PARENT.encode()]),
    st.datetimes().map(lambda moment: moment.isoformat().encode()),
)


@given(
    st.lists(st.tuples(header_names, header_values), max_size=6),
    st.one_of(st.none(), st.binary(max_size=60), st.just(json.dumps(EVENT).encode())),
)
def test_any_record_opens_or_is_malformed(headers: list[Any], value: bytes | None) -> None:
    try:
        opened = open_envelope(incoming(value, headers=headers))
    except MalformedMessageError:
        return
    assert opened.id
    assert len(opened.trace_id) == 32
    assert opened.expires is None or opened.expires.tzinfo is not None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5
)


@given(st.dictionaries(st.sampled_from([*EVENT, "data", "data_base64", "expirytime"]), json_values))
def test_any_structured_event_opens_or_is_malformed(fields: dict[str, Any]) -> None:
    try:
        opened = open_envelope(structured(**fields))
    except MalformedMessageError:
        return
    assert opened.id


def sealed(**changes: Any) -> Outgoing:
    fields: dict[str, Any] = {
        "kind": "video.validated.v1",
        "step": "validation",
        "event_id": "r1/validation/0",
        "request_id": "r1",
        "trace_id": TRACE,
    }
    return seal(VALIDATED, "tiktok:1", b'{"a":1}', **(fields | changes))


def as_consumed(record: Outgoing) -> Incoming:
    return incoming(record.value, key=record.key, headers=record.headers)


def headers_without_time(record: Outgoing) -> dict[str, bytes]:
    return {name: value for name, value in record.headers if name != "ce_time"}


def test_sealed_record_has_all_cloudevents_attributes() -> None:
    record = sealed(cause_id="r1", expires=datetime(2030, 1, 1, tzinfo=UTC))
    assert (record.topic, record.key, record.value) == (VALIDATED, b"tiktok:1", b'{"a":1}')
    headers = dict(record.headers)
    parent = headers.pop("traceparent").decode().split("-")
    assert datetime.fromisoformat(headers.pop("ce_time").decode()).tzinfo is not None
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": b"r1/validation/0",
        "ce_source": b"/clipmill/validation",
        "ce_type": b"io.clipmill.video.validated.v1",
        "content-type": b"application/json",
        "ce_correlationid": b"r1",
        "ce_causationid": b"r1",
        "ce_expirytime": b"2030-01-01T00:00:00+00:00",
    }
    assert [len(part) for part in parent] == [2, 32, 16, 2]
    assert parent[1] == TRACE


def test_unset_attributes_have_no_header() -> None:
    names = {name for name, _ in sealed().headers}
    assert not names & {"ce_causationid", "ce_expirytime"}


def test_extra_headers_come_last_and_may_repeat() -> None:
    record = sealed(extra=(("due", b"1"), ("due", b"2")))
    assert record.headers[-2:] == (("due", b"1"), ("due", b"2"))


def test_record_without_key_has_a_null_key() -> None:
    record = seal(
        VALIDATED, None, b"", kind="k", step="s", event_id="e", request_id="r", trace_id=TRACE
    )
    assert record.key is None


def test_duplicates_have_equal_headers_and_other_events_another_span() -> None:
    assert headers_without_time(sealed()) == headers_without_time(sealed())
    span = headers_without_time(sealed())["traceparent"]
    assert headers_without_time(sealed(event_id="r1/validation/1"))["traceparent"] != span


offsets = st.integers(-720, 720).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    event_id=st.text(min_size=1),
    request_id=st.text(min_size=1),
    expires=st.none() | st.datetimes(timezones=offsets),
    body=st.binary(),
)
def test_sealed_record_round_trips(
    event_id: str, request_id: str, expires: datetime | None, body: bytes
) -> None:
    record = seal(
        VALIDATED,
        "key",
        body,
        kind="k.v1",
        step="s",
        event_id=event_id,
        request_id=request_id,
        trace_id=TRACE,
        expires=expires,
    )
    assert open_envelope(as_consumed(record)) == Envelope(
        id=event_id,
        type="io.clipmill.k.v1",
        correlation_id=request_id,
        expires=expires,
        trace_id=TRACE,
        data=body,
    )
