"""Malformed JSON text: the error, and the members that are still readable."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import MalformedMessageError, decode
from schemas.json_text import NotJsonError, parse, readable_members
from schemas.request import Request

VALID = b'{"id":"a","url":"x"}'
BOM = b"\xef\xbb\xbf"

REASONS = [
    (b"", "there is nothing in it"),
    (b" \n", "there is nothing in it"),
    (BOM, "there is nothing in it"),
    (VALID.decode().encode("utf-16"), "it is in UTF-16, use UTF-8"),
    (VALID.decode().encode("utf-16-le"), "it is in UTF-16-LE, use UTF-8"),
    (VALID.decode().encode("utf-32"), "it is in UTF-32, use UTF-8"),
    (b"\x00\x00\x00\x00\x07" + VALID, "bytes of a schema registry stand before it"),
    (b'{"url":"\xff"}', "byte 0xff at position 8 is not UTF-8"),
    (b'{"url":', "Expecting value (character 7)"),
    (VALID + VALID, "Extra data (character 20)"),
    (b"{'id':1}", "Expecting property name enclosed in double quotes (character 1)"),
    (b"\x00" * 9, "Expecting value (character 0)"),
    (b"[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("body", "reason"), REASONS, ids=lambda each: repr(each)[:40])
def test_malformed_json_error_has_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        parse(body)
    assert str(caught.value).startswith(f"not JSON: {reason}")


@pytest.mark.parametrize("body", [BOM + VALID, b" " + VALID], ids=["BOM", "space"])
def test_a_byte_order_mark_is_ignored(body: bytes) -> None:
    assert decode(body, Request) == Request(id="a", url="x")


def test_second_byte_order_mark_is_rejected() -> None:
    with pytest.raises(MalformedMessageError):
        decode(BOM + BOM + VALID, Request)


def test_integer_id_after_a_byte_order_mark_is_accepted() -> None:
    assert decode(BOM + b'{"id":7,"url":"x"}', Request).id == "7"


READABLE: list[tuple[bytes, dict[str, Any]]] = [
    (VALID, {"id": "a", "url": "x"}),
    (b"{}", {}),
    (b"", {}),
    (b"[]", {}),
    (b'"x"', {}),
    (b"{", {}),
    (b'{"id"', {}),
    (b'{"id":', {}),
    (b'{"id":"a', {}),
    (b'{"id":"a"', {}),
    (b'{"id":4', {}),
    (b'{"id":42,', {"id": 42}),
    (b'{"id":"a"}x', {"id": "a"}),
    (b'{"id":"a","url":"htt', {"id": "a"}),
    (b'{"id":"a","priority":05}', {"id": "a"}),
    (b'{"priority":05,"id":"a"}', {}),
    (b'{"id":"a","id":"b","x":', {"id": "b"}),
    (b'{"x":{"id":"inner"},"y":[{"id":"z"}],"url', {"x": {"id": "inner"}, "y": [{"id": "z"}]}),
    (b'{"data":{"id":"a","url":"b', {"data": {"id": "a"}}),
    (b'{"data":{"data":{"id":"a","url":"b', {}),
    (b'{"a":"\n\t","id":"a",', {"a": "\n\t", "id": "a"}),
    (b'{"a":"\xff","id":"a"}', {"a": "\ufffd", "id": "a"}),
    (b'{ "id" : "a" , "x" :', {"id": "a"}),
    (b'{1:2,"id":"a"}', {}),
    (BOM + VALID, {"id": "a", "url": "x"}),
    (VALID.decode().encode("utf-16"), {"id": "a", "url": "x"}),
    (b"\x00\x00\x00\x00\x07" + VALID, {"id": "a", "url": "x"}),
    (json.dumps(VALID.decode()).encode(), {"id": "a", "url": "x"}),
    (b'{"id":"a","x":' + b"[" * 100_000, {"id": "a"}),
    (b'{"data":' * 100_000, {}),
]


@pytest.mark.parametrize(("body", "members"), READABLE, ids=lambda each: repr(each)[:40])
def test_members_are_read_up_to_the_error(body: bytes, members: dict[str, Any]) -> None:
    assert readable_members(body) == members


@given(st.binary(max_size=60))
def test_any_bytes_have_members_or_none(body: bytes) -> None:
    assert isinstance(readable_members(body), dict)
