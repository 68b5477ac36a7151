from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import MalformedMessageError, decode, encode
from schemas.request import Request
from schemas.results import Result


class Inner(msgspec.Struct):
    number: int


class Body(msgspec.Struct):
    inner: Inner
    name: str = ""
    rest: msgspec.Raw = msgspec.Raw(b"null")


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        (b"", "$", "not JSON: "),
        (b"{", "$", "not JSON: "),
        (b"\x00\xff", "$", "not JSON: "),
        (b'{"inner":{"number":1}} x', "$", "not JSON: "),
        (b'{"inner":{"number":1},"name":"\xff"}', "$", "not JSON: "),
        (b"[" * 100_000, "$", "not JSON: nested too deeply"),
        (b"[]", "$", "got a list; allowed: an object"),
        (b"{}", "$.inner", "is missing; allowed: an object"),
        (b'{"inner":{"number":"1"}}', "$.inner.number", "got '1'; allowed: an integer"),
        (b'{"inner":7}', "$.inner", "got 7; allowed: an object"),
    ],
    ids=[
        "empty",
        "truncated",
        "binary",
        "trailing data",
        "not UTF-8",
        "nested too deeply",
        "array",
        "field missing",
        "nested wrong type",
        "wrong type",
    ],
)
def test_malformed_body_error_has_field_and_reason(body: bytes, field: str, reason: str) -> None:
    kind = Any if body.startswith(b"[[") else Body
    with pytest.raises(MalformedMessageError) as caught:
        decode(body, kind)
    assert caught.value.field == field
    assert caught.value.reason.startswith(reason)
    assert str(caught.value) == f"{caught.value.field}: {caught.value.reason}"


@given(body=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_malformed(body: bytes) -> None:
    for kind in (Request, Result):
        with pytest.raises(MalformedMessageError):
            decode(body + b"\x00", kind)  # type: ignore[arg-type]


def test_opaque_json_stays_byte_for_byte() -> None:
    body = b'{"inner":{"number":1},"name":"","rest":{"b": 1.50,  "a":"\\u00e4"}}'
    assert bytes(decode(body, Body).rest) == b'{"b": 1.50,  "a":"\\u00e4"}'
    assert encode(decode(body, Body)) == body


def test_opaque_json_can_be_decoded_later() -> None:
    body = decode(b'{"inner":{"number":1},"rest":{"number":2}}', Body)
    assert decode(body.rest, Inner) == Inner(2)


def test_encoding_is_compact_utf8() -> None:
    assert encode({"a": "ä", "b": [1, None]}) == '{"a":"ä","b":[1,null]}'.encode()
