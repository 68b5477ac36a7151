"""The outcome of any malformed request has the client's id when it can be recovered."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.commands.agent import read_command, reject
from agents.pipeline.request_parsing import recover_identity
from schemas.errors import ClipmillError
from schemas.request import Options, Request
from streams.envelope import STRUCTURED, open_envelope
from streams.records import Effect, Header, Incoming
from streams.topics import COMMANDS
from tests.unit.agents.builders import URL, collect_effects, make_record, outcome, outcomes
from tests.unit.agents.test_hostile import make_validation

pytestmark = pytest.mark.untraced

STRUCTURED_HEADER: Header = ("content-type", STRUCTURED.encode())
EVENT = {"specversion": "1.0", "id": "event-1", "source": "/me", "type": "ask"}
VALID = '{"id":"mine","url":"x"}'


def structured(data: str, **fields: str) -> Incoming:
    """A structured CloudEvent of raw JSON, its data last."""
    members = {**{name: json.dumps(value) for name, value in EVENT.items()}, **fields}
    text = ",".join(f'"{name}":{value}' for name, value in members.items())
    return make_record(f'{{{text},"data":{data}}}'.encode(), headers=[STRUCTURED_HEADER])


MALFORMED: dict[str, Incoming] = {
    "unknown field": make_record(b'{"id":"mine","x":1}'),
    "unknown field first": make_record(b'{"x":1,"id":"mine"}'),
    "no url": make_record(b'{"id":"mine"}'),
    "wrong types": make_record(b'{"url":1,"urls":2,"options":3,"attributes":4,"id":"mine"}'),
    "date": make_record(b'{"deadline":"2026-12-01","url":"x","id":"mine"}'),
    "duplicate name": make_record(b'{"id":"other","url":"x","id":"mine","priority":99}'),
    "lone surrogate": make_record(b'{"url":"x","attributes":{"a":"\\ud83d"},"id":"mine"}'),
    "lone surrogate in a name": make_record(b'{"\\udc00":1,"id":"mine"}'),
    "not a number": make_record(b'{"priority":NaN,"id":"mine"}'),
    "invalid UTF-8": make_record(b'{"url":"\xff\xfe","id":"mine"}'),
    "control character": make_record(b'{"url":"a\nb","id":"mine"}'),
    "truncated": make_record(b'{"id":"mine","url":"https://www.tik'),
    "truncated in a name": make_record(b'{"id":"mine","ur'),
    "trailing data": make_record(f"{VALID} // comment".encode()),
    "two lines": make_record(f"{VALID}\n{VALID.replace('mine', 'other')}".encode()),
    "trailing comma": make_record(b'{"id":"mine","url":"x",}'),
    "leading zero": make_record(b'{"id":"mine","priority":05}'),
    "byte order mark": make_record(b"\xef\xbb\xbf" + VALID.encode()),
    "utf-16": make_record(VALID.encode("utf-16")),
    "utf-32": make_record(VALID.encode("utf-32-be")),
    "schema registry": make_record(b"\x00\x00\x00\x00\x09" + VALID.encode()),
    "double-encoded": make_record(json.dumps(VALID).encode()),
    "deeply nested": make_record(b'{"id":"mine","urls":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "large": make_record(b'{"id":"mine","url":"' + b"u" * 1_500_000 + b'"}'),
    "bad header": make_record(VALID.encode(), headers=[("ce_expirytime", b"2026-12-01")]),
    "bad version": make_record(VALID.encode(), headers=[("ce_specversion", b"0.3")]),
    "structured, unknown field": structured('{"id":"mine","x":1}'),
    "structured, lone surrogate": structured('{"url":"\\ud83d","id":"mine"}'),
    "structured, old version": structured(VALID, specversion='"0.3"'),
    "structured, id of the event": structured(VALID, id="7"),
    "structured, date": structured(VALID, expirytime='"2026-12-01"'),
    "structured, lone surrogate in the envelope": structured(VALID, subject='"\\ud83d"', id="1"),
    "structured, truncated": make_record(
        (structured(VALID).value or b"").replace(b'"url":"x"}}', b'"url":"x'),
        headers=[STRUCTURED_HEADER],
    ),
    "structured, double-encoded": structured(json.dumps(VALID)),
    "structured, byte order mark": make_record(
        b"\xef\xbb\xbf" + (structured(VALID).value or b""), headers=[STRUCTURED_HEADER]
    ),
    "structured, base64": make_record(
        json.dumps(
            {**EVENT, "data_base64": base64.b64encode(b'{"id":"mine","a":').decode()}
        ).encode(),
        headers=[STRUCTURED_HEADER],
    ),
    "structured, base64, old version": make_record(
        json.dumps(
            {
                **EVENT,
                "specversion": "0.3",
                "data_base64": base64.b64encode(VALID.encode()).decode(),
            }
        ).encode(),
        headers=[STRUCTURED_HEADER],
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_outcome_of_a_malformed_request_has_its_id(name: str) -> None:
    found = outcome(await collect_effects(await make_validation().handle(MALFORMED[name])))
    assert found.request_id == "mine"
    assert found.error.technical_details["reason"]


@pytest.mark.parametrize(
    ("text", "request_id"),
    [("42", "42"), ("0", "0"), ("9223372036854775807", "9223372036854775807")],
)
async def test_integer_ids_become_decimal_strings(text: str, request_id: str) -> None:
    for body in (f'{{"id":{text},"url":"x"}}', f'{{"id":{text},"x":1}}', f'{{"id":{text},"x":'):
        record = make_record(body.encode())
        assert (
            outcome(await collect_effects(await make_validation().handle(record))).request_id
            == request_id
        )


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("4.5", "got 4.5;"),
        ("4.0", "got 4.0;"),
        ("true", "got true;"),
        ("-1", "got -1;"),
        ("9223372036854775808", "got 9223372036854775808;"),
        ("1" + "0" * 30, "got 1000000000000000000000000000000;"),
        ('"a/b"', "got 'a/b';"),
        ('["a"]', "got a list;"),
    ],
)
async def test_invalid_id_is_quoted_and_the_record_id_is_used(text: str, quoted: str) -> None:
    record = make_record(f'{{"id":{text},"url":"x"}}'.encode())
    found = outcome(await collect_effects(await make_validation().handle(record)))
    assert found.request_id == record.record_id
    assert found.error.technical_details["field"] == "$.id"
    assert found.error.technical_details["reason"].startswith(quoted)


AMBIGUOUS = [
    '{"id":"mi',
    '{"id":4',
    '{"x":05,"id":"mine"}',
    '[{"id":"mine"}]',
    '{"a":{"id":"mine"}',
]


@pytest.mark.parametrize("body", AMBIGUOUS)
async def test_ambiguous_id_is_not_used(body: str) -> None:
    record = make_record(body.encode())
    assert (
        outcome(await collect_effects(await make_validation().handle(record))).request_id
        == record.record_id
    )


ENVELOPE_IDS: dict[str, tuple[Incoming, dict[str, str]]] = {
    "none": (make_record(b"{"), {}),
    "headers": (
        make_record(b"{", headers=[("ce_id", b"e1"), ("ce_correlationid", b"c1")]),
        {"event_id": "e1", "correlation_id": "c1"},
    ),
    "headers of invalid UTF-8": (make_record(b"{", headers=[("ce_id", b"\xff")]), {}),
    "long": (make_record(b"{", headers=[("ce_id", b"e" * 9_000)]), {"event_id": "e" * 256}),
    "structured": (
        structured('{"x":1}', correlationid='"c1"'),
        {"event_id": "event-1", "correlation_id": "c1"},
    ),
    "structured, invalid": (
        structured('{"x":1}', specversion="2", correlationid='"c\\ud83d"'),
        {"event_id": "event-1", "correlation_id": "c\ufffd"},
    ),
}


@pytest.mark.parametrize("name", ENVELOPE_IDS)
async def test_envelope_ids_are_reported_but_do_not_identify_the_request(name: str) -> None:
    record, ids = ENVELOPE_IDS[name]
    found = outcome(await collect_effects(await make_validation().handle(record)))
    assert found.request_id == record.record_id
    details = found.error.technical_details
    assert {key: details[key] for key in details if key.endswith("_id")} == ids


def test_echoed_fields_of_a_malformed_request_can_be_encoded() -> None:
    body = b'{"url":"\\ud83d","attributes":{"a":"\\udc00","\\ud83d":"b"}}'
    identity = recover_identity(make_record(body), None)
    assert (identity.url, identity.attributes) == ("\ufffd", {"a": "\ufffd", "\ufffd": "b"})


# Commands

MALFORMED_COMMANDS = {
    "unknown field": b'{"command":"cancel","id":"mine","x":1}',
    "lone surrogate": b'{"command":"cancel","by":"\\ud83d","id":"mine","request_id":"a"}',
    "not a number": b'{"x":NaN,"id":"mine"}',
    "truncated": b'{"id":"mine","command":"can',
    "no command": b'{"command":7,"id":"mine"}',
    "invalid UTF-8": b'{"by":"\xff","id":"mine"}',
}


@pytest.mark.parametrize("name", MALFORMED_COMMANDS)
def test_outcome_of_a_malformed_command_has_its_id(name: str) -> None:
    record = make_record(MALFORMED_COMMANDS[name], topic=COMMANDS)
    envelope = open_envelope(record)
    with pytest.raises(ClipmillError) as caught:
        read_command(envelope, record)
    assert outcome(reject(record, caught.value, envelope)).request_id == "mine"


def test_integer_ids_of_a_command_become_strings() -> None:
    body = b'\xef\xbb\xbf{"command":"retry","id":1,"request_id":42,"new_id":43}'
    record = make_record(body, topic=COMMANDS)
    command: Any = read_command(open_envelope(record), record)
    assert (command.id, command.request_id, command.new_id) == ("1", "42", "43")


# Any JSON with a valid id

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:~@+=-]{0,127}", fullmatch=True) | st.integers(
    0, 2**63 - 1
)
TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(["\ud83d", "\udc00", URL])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [*Request.__struct_fields__, *Options.__struct_fields__, "data", "job", "\ud83d"]
).filter(lambda name: name != "id") | TEXTS.filter(lambda name: name != "id")
BODIES = st.tuples(
    IDS, st.dictionaries(NAMES, VALUES, max_size=5), st.randoms(use_true_random=False)
)


def shuffled(request_id: str | int, others: dict[str, Any], random: Any) -> str:
    members = [("id", request_id), *others.items()]
    random.shuffle(members)
    return json.dumps(dict(members))


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "unchanged": lambda body: body,
    "byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "trailing data": lambda body: body + b" {}",
    "utf-16": lambda body: body.decode().encode("utf-16"),
    "double-encoded": lambda body: json.dumps(body.decode()).encode(),
}


def ids_of(effects: Sequence[Effect]) -> set[str]:
    """Return the ids of the requests that have an outcome, or are in flight."""
    found = {each.request_id.partition("/")[0] for each in outcomes(effects)}
    return found or {
        (make.header("ce_correlationid") or "").partition("/")[0]
        for make in map(incoming_of, effects)
    }


def incoming_of(effect: Any) -> Incoming:
    return make_record(effect.value, headers=effect.headers)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=100, deadline=None)
@given(parts=BODIES)
async def test_any_body_with_a_valid_id_has_an_outcome_with_it(form: str, parts: Any) -> None:
    body = FORMS[form](shuffled(*parts).encode())
    effects = await collect_effects(await make_validation().handle(make_record(body)))
    assert ids_of(effects) == {str(parts[0])}


@settings(max_examples=200, deadline=None)
@given(parts=BODIES, cut=st.integers(0, 400))
async def test_truncated_body_with_a_valid_id_has_an_outcome_with_it(parts: Any, cut: int) -> None:
    request_id, others, _ = parts
    text = json.dumps({"id": request_id, **others, "x": 1})
    first = len(json.dumps({"id": request_id}))
    record = make_record(text[: max(first, cut)].encode())
    assert ids_of(await collect_effects(await make_validation().handle(record))) == {
        str(request_id)
    }


@settings(max_examples=100, deadline=None)
@given(parts=BODIES)
async def test_any_structured_event_with_a_valid_id_has_an_outcome_with_it(parts: Any) -> None:
    record = structured(shuffled(*parts))
    assert ids_of(await collect_effects(await make_validation().handle(record))) == {str(parts[0])}
