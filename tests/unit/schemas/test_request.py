from datetime import timedelta
from typing import Any

import pytest

from schemas.codec import MalformedMessageError, decode, encode
from schemas.request import MAX_BATCH_URLS, Options, Request

URL = "https://www.tiktok.com/@a/video/1"


def decode_request(**fields: Any) -> Request:
    return decode(encode({"url": URL, **fields}), Request)


def test_url_alone_is_a_valid_request() -> None:
    assert decode_request() == Request(url=URL)
    assert decode_request().options == Options()


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "a"},
        {"id": "A" * 128},
        {"id": "2026-11-02T10:00:00Z"},
        {"id": "a.b_c:d~e@f+g=h-i"},
        {"url": None, "urls": [URL] * MAX_BATCH_URLS},
        {"priority": 0},
        {"priority": 9},
        {"options": {"max_bytes": 1}},
        {"attributes": {str(number): "" for number in range(32)}},
        {"attributes": {"k" * 64: "v" * 1_024}},
        {"retry_of": "r" * 160},
        {"deadline": "2026-11-02T10:00:00+01:00"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_values_at_the_limits_are_accepted(fields: dict[str, Any]) -> None:
    decode_request(**fields)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"id": ""}, "$.id"),
        ({"id": "A" * 129}, "$.id"),
        ({"id": "batch/0"}, "$.id"),
        ({"id": "-a"}, "$.id"),
        ({"id": "a b"}, "$.id"),
        ({"id": "a\n"}, "$.id"),
        ({"id": "ä"}, "$.id"),
        ({"id": 7.0}, "$.id"),
        ({"id": -1}, "$.id"),
        ({"id": 2**63}, "$.id"),
        ({"id": True}, "$.id"),
        ({"url": 7}, "$.url"),
        ({"urls": []}, "$.urls"),
        ({"urls": [URL] * (MAX_BATCH_URLS + 1)}, "$.urls"),
        ({"urls": URL}, "$.urls"),
        ({"action": "delete"}, "$.action"),
        ({"options": {"quality": "8k"}}, "$.options.quality"),
        ({"options": {"max_bytes": 0}}, "$.options.max_bytes"),
        ({"options": {"max_bytes": 2**63}}, "$.options.max_bytes"),
        ({"options": {"audio_only": "yes"}}, "$.options.audio_only"),
        ({"options": {"audio": "music"}}, "$.options.audio"),
        ({"options": None}, "$.options"),
        ({"priority": 10}, "$.priority"),
        ({"priority": -1}, "$.priority"),
        ({"priority": 1.5}, "$.priority"),
        ({"priority": True}, "$.priority"),
        ({"attributes": {str(number): "" for number in range(33)}}, "$.attributes"),
        ({"attributes": {"": "v"}}, "$.attributes"),
        ({"attributes": {"k" * 65: "v"}}, "$.attributes"),
        ({"attributes": {"k": "v" * 1_025}}, "$.attributes.k"),
        ({"attributes": {"k": 1}}, "$.attributes.k"),
        ({"retry_of": "r" * 161}, "$.retry_of"),
        ({"deadline": "2026-11-02T10:00:00"}, "$.deadline"),
        ({"deadline": "tomorrow"}, "$.deadline"),
        ({"deadline": 1_793_000_000}, "$.deadline"),
    ],
    ids=lambda case: str(case)[:40] if isinstance(case, dict) else None,
)
def test_values_beyond_the_limits_are_rejected_with_their_path(
    fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(MalformedMessageError) as caught:
        decode_request(**fields)
    assert caught.value.field == path


def test_invalid_batch_members_do_not_invalidate_the_request() -> None:
    assert decode_request(url=None, urls=[URL, 7, None]).urls == (URL, 7, None)


def test_a_deadline_keeps_its_zone() -> None:
    deadline = decode_request(deadline="2026-11-02T10:00:00+01:00").deadline
    assert deadline is not None
    assert deadline.utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("number", [0, 42, 2**53 + 1, 2**63 - 1])
@pytest.mark.parametrize("field", ["id", "retry_of"])
def test_integer_is_accepted_as_id(field: str, number: int) -> None:
    assert getattr(decode_request(**{field: number}), field) == str(number)
