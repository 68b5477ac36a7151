"""Values of a topic as messages about requests; those of other producers are left out."""

import pytest

from streams.cluster.topic_reader import _message


def test_message_about_a_request_is_decoded() -> None:
    assert _message(b'{"request_id": "r", "a": [1.5, null]}') == {
        "request_id": "r",
        "a": [1.5, None],
    }


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        b"{",
        b"7",
        b"{}",
        b'["request_id"]',
        b'{"request_id": 7}',
        b'{"request_id": ["r"]}',
        b'{"request_id": "r", "a": NaN}',
        b'{"request_id": "r", "a": -Infinity}',
        b'{"request_id": "r", "a": 1e400}',
        b'{"request_id": "\\ud800"}',
        b'{"request_id": "r", "a": ' + b"[" * 100_000,
        b'{"request_id": "r", "a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda value: repr(value)[:30],
)
def test_value_of_another_producer_is_no_message(value: bytes | None) -> None:
    assert _message(value) is None
