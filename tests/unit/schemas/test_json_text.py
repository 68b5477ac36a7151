"""JSON text that is damaged: why it is refused, and what can be read of it."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import MalformedMessageError, decode
from schemas.json_text import NotJsonError, parse, readable_members
from schemas.request import Request

GOOD = b'{"id":"a","url":"x"}'
MARK = b"\xef\xbb\xbf"

REASONS = [
    (b"", "there is nothing in it"),
    (b" \n", "there is nothing in it"),
    (MARK, "there is nothing in it"),
    (GOOD.decode().encode("utf-16"), "it is in UTF-16, use UTF-8"),
    (GOOD.decode().encode("utf-16-le"), "it is in UTF-16-LE, use UTF-8"),
    (GOOD.decode().encode("utf-32"), "it is in UTF-32, use UTF-8"),
    (b"\x00\x00\x00\x00\x07" + GOOD, "bytes of a schema registry stand before it"),
    (b'{"url":"\xff"}', "byte 0xff at position 8 is not UTF-8"),
    (b'{"url":', "Expecting value (character 7)"),
    (GOOD + GOOD, "Extra data (character 20)"),
    (b"{'id':1}", "Expecting property name enclosed in double quotes (character 1)"),
    (b"\x00" * 9, "Expecting value (character 0)"),
    (b"[" * 100_000, "nested too deeply"),
]


@pytest.mark.parametrize(("body", "reason"), REASONS, ids=lambda each: repr(each)[:40])
def test_what_is_no_json_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        parse(body)
    assert str(caught.value).startswith(f"not JSON: {reason}")


@pytest.mark.parametrize("body", [MARK + GOOD, b" " + GOOD], ids=["mark", "space"])
def test_a_byte_order_mark_is_ignored(body: bytes) -> None:
    assert decode(body, Request) == Request(id="a", url="x")


def test_a_mark_in_the_middle_or_twice_is_no_mark() -> None:
    with pytest.raises(MalformedMessageError):
        decode(MARK + MARK + GOOD, Request)


def test_a_mark_does_not_keep_an_integer_from_being_an_id() -> None:
    assert decode(MARK + b'{"id":7,"url":"x"}', Request).id == "7"


READABLE: list[tuple[bytes, dict[str, Any]]] = [
    (GOOD, {"id": "a", "url": "x"}),
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
    (MARK + GOOD, {"id": "a", "url": "x"}),
    (GOOD.decode().encode("utf-16"), {"id": "a", "url": "x"}),
    (b"\x00\x00\x00\x00\x07" + GOOD, {"id": "a", "url": "x"}),
    (json.dumps(GOOD.decode()).encode(), {"id": "a", "url": "x"}),
    (b'{"id":"a","x":' + b"[" * 100_000, {"id": "a"}),
    (b'{"data":' * 100_000, {}),
]


@pytest.mark.parametrize(("body", "members"), READABLE, ids=lambda each: repr(each)[:40])
def test_members_are_read_up_to_the_damage(body: bytes, members: dict[str, Any]) -> None:
    assert readable_members(body) == members


@given(st.binary(max_size=60))
def test_any_bytes_have_members_or_none(body: bytes) -> None:
    assert isinstance(readable_members(body), dict)
