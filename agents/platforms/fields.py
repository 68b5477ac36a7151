"""Typed access to the dictionaries of extractors, which are untrusted.

Any field may be missing or of any type: an accessor then returns None or an empty list.
"""

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

from schemas.errors import ClipmillError, ErrorCode

MAX_COUNT = 2**63 - 1
"""Signed 64-bit; a larger number is not a count and does not fit the columns of consumers."""

MAX_SECONDS = 366 * 86_400.0
MAX_URL_CHARACTERS = 8_192
"""Signed media links are longer than the links that users submit."""

_MAX_UNIX_TIME = 253_402_300_799  # end of the year 9999, the limit of datetime
_CONTROL_MARKS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

Fields = Mapping[str, Any]


def decode_raw(raw: msgspec.Raw) -> Fields:
    """Return the extractor's dictionary.

    Raises:
        ClipmillError: ``platform.changed``; the JSON is not an object.
    """
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        message = "The extractor's result does not describe a video."
        raise ClipmillError(ErrorCode.PLATFORM_CHANGED, message) from None


def text(fields: Fields, name: str, *, limit: int) -> str | None:
    """Return a text without control and direction marks, cut to `limit` characters."""
    value = fields.get(name)
    if not isinstance(value, str):
        return None
    return _CONTROL_MARKS.sub("", value).strip()[:limit] or None


def integer(fields: Fields, name: str, *, minimum: int = 0) -> int | None:
    """Return a number between `minimum` and `MAX_COUNT`, without its fraction."""
    value = number(fields, name)
    return int(value) if value is not None and minimum <= value <= MAX_COUNT else None


def number(fields: Fields, name: str) -> float | int | None:
    """Return a finite number; a boolean is none."""
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def seconds(fields: Fields, name: str) -> float | None:
    """Return a positive duration of at most `MAX_SECONDS`."""
    value = number(fields, name)
    return float(value) if value is not None and 0 < value <= MAX_SECONDS else None


def unix_time(fields: Fields, name: str) -> datetime | None:
    """Return a positive Unix time as a UTC datetime."""
    value = integer(fields, name, minimum=1)
    return datetime.fromtimestamp(value, UTC) if value and value <= _MAX_UNIX_TIME else None


def https_url(fields: Fields, name: str) -> str | None:
    """Return an absolute https URL of printable ASCII."""
    value = fields.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_URL_CHARACTERS:
        return None
    if not value.isascii() or not value.isprintable() or " " in value:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    return value if parts.scheme == "https" and parts.hostname else None


def objects(fields: Fields, name: str, *, limit: int) -> list[Fields]:
    """Return the dictionaries among the first `limit` entries of a list."""
    value = fields.get(name)
    entries = value[:limit] if isinstance(value, list) else []
    return [entry for entry in entries if isinstance(entry, dict)]
