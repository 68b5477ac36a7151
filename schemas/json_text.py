"""Diagnostic and tolerant parsing of JSON that the fast decoder has rejected.

Called on failures only. `parse` yields the reason, `readable_members` the id of a request whose
body is damaged.
"""

import codecs
import json
import re
from typing import Any

MAGIC_BYTES = 5
"""Bytes that schema-registry serializers write before the JSON: a zero byte and the schema's id."""

INTEGER_DIGITS_MAX = 4_000
"""Digits of the longest integer that is parsed; Python rejects more than 4,300."""

SURROGATE = re.compile("[\ud800-\udfff]")
"""Half of a surrogate pair, which JSON can escape and UTF-8 cannot encode."""

_SPACE = re.compile(r"[ \t\n\r]*")


class NotJsonError(ValueError):
    """A body is not JSON in UTF-8; the message is the reason."""


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= INTEGER_DIGITS_MAX else float("inf")


_strict = json.JSONDecoder(parse_int=_integer)
_lenient = json.JSONDecoder(parse_int=_integer, strict=False)


def replace_surrogates(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 cannot encode, by U+FFFD."""
    return SURROGATE.sub("\ufffd", text)


def without_bom(body: bytes) -> bytes:
    """Strip the byte-order mark of UTF-8 (RFC 8259, 8.1: it may be ignored)."""
    return body.removeprefix(codecs.BOM_UTF8)


def parse(body: bytes) -> Any:
    """Parse a body; NaN, Infinity and halves of surrogate pairs are accepted here.

    Raises:
        NotJsonError: the body is not JSON in UTF-8, or nested too deeply.
    """
    body = without_bom(body)
    if not body.strip():
        raise NotJsonError("not JSON: there is nothing in it")
    if reason := _encoding_problem(body):
        raise NotJsonError(f"not JSON: {reason}")
    try:
        return _strict.decode(body.decode())
    except UnicodeDecodeError as error:
        byte = body[error.start]
        reason = f"byte 0x{byte:02x} at position {error.start} is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"{error.msg} (character {error.pos})"
    except RecursionError:
        reason = "nested too deeply"
    raise NotJsonError(f"not JSON: {reason}")


def readable_members(body: bytes) -> dict[str, Any]:
    """Return the members of a JSON object before its first damage; {} for any other value.

    A member counts only with its end: the number in ``{"id": 4`` may be truncated. A damaged member
    that is an object yields its own members likewise. JSON that was encoded twice, into a JSON
    string, is read too.
    """
    text = _text_of(body)
    start = _skip(text, 0)
    if text[start : start + 1] == '"':
        inner = _value(text, start)
        text = inner[0] if inner else ""
        start = _skip(text, 0)
    return _members(text, start, nested=True)


def _encoding_problem(body: bytes) -> str | None:
    """Return the reason why a text is not in UTF-8, None if it may be."""
    if _has_magic_bytes(body):
        return "bytes of a schema registry stand before it; use a serializer for plain JSON"
    encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8"):
        return None
    try:
        text = body.decode(encoding).strip()
    except UnicodeDecodeError:
        return None
    return f"it is in {encoding.upper()}, use UTF-8" if text.startswith(("{", "[", '"')) else None


def _has_magic_bytes(body: bytes) -> bool:
    return body[:1] == b"\x00" and body[MAGIC_BYTES : MAGIC_BYTES + 1] == b"{"


def _text_of(body: bytes) -> str:
    body = without_bom(body)
    if _has_magic_bytes(body):
        body = body[MAGIC_BYTES:]
    return body.decode(json.detect_encoding(body), "replace")


def _members(text: str, start: int, *, nested: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if text[start : start + 1] != "{":
        return found
    at = start
    while text[at : at + 1] in ("{", ","):
        name = _value(text, _skip(text, at + 1))
        if name is None or not isinstance(name[0], str) or text[name[1] : name[1] + 1] != ":":
            break
        at = _skip(text, name[1] + 1)
        value = _value(text, at)
        if value is None:
            if nested and (inner := _members(text, at, nested=False)):
                found[name[0]] = inner
            break
        if text[value[1] : value[1] + 1] not in (",", "}"):
            break
        found[name[0]], at = value
    return found


def _value(text: str, start: int) -> tuple[Any, int] | None:
    """Return the value at ``start`` and the position of the next token, None if it is damaged."""
    try:
        value, end = _lenient.raw_decode(text, start)
    except (json.JSONDecodeError, RecursionError):
        return None
    return value, _skip(text, end)


def _skip(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    assert space is not None
    return space.end()
