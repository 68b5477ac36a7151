import json

import pytest

from streams.cli.dead_letter_view import (
    advice,
    dead_letter_fields,
    dead_letter_text,
    format_value,
    mask_secrets,
)
from tests.unit.streams.deadletters.builders import stored_dead_letter

SECRET = "s3cret"


@pytest.mark.parametrize(
    "body",
    [
        {"cookies": [{"name": "sid", "value": SECRET, "domain": "x"}]},
        {"a": [{"cookies": f"sid={SECRET}; Domain=x"}]},
        {"http_headers": {"Cookie": f"sid={SECRET}"}},
        {"headers": {"Authorization": SECRET}},
        {"cookies": {"sid": SECRET}},
        {"record": {"topic": "t", "partition": 0, "offset": 1, "value": SECRET}},
    ],
    ids=str,
)
def test_secret_values_are_masked(body: object) -> None:
    shown = format_value(json.dumps(body).encode())
    assert SECRET not in shown
    assert "***" in shown


def test_values_without_secrets_are_shown() -> None:
    body = {"a": [1, None, {"value": "v"}], "cookies": [{"name": "sid", "value": "x"}]}
    assert mask_secrets(body) == {"a": body["a"], "cookies": [{"name": "sid", "value": "***"}]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (b"\xff\x00", "b'\\xff\\x00'"),
        (b'"\\u001b[31m"', '"\\u001b[31m"'),
        (b"[" * 100_000, "characters more"),
        (b"x" * 50_000, "characters more"),
    ],
)
def test_any_value_can_be_shown(value: bytes | None, text: str) -> None:
    assert text in format_value(value)


def test_long_keys_and_headers_are_cut() -> None:
    text = dead_letter_text(stored_dead_letter(headers=(("a", b"x" * 3_000),)), 1)
    assert "  a: " + "x" * 2_000 + "… and 1000 bytes more" in text


def test_escape_sequences_in_headers_are_not_printed() -> None:
    text = dead_letter_text(
        stored_dead_letter(headers=(("a\x1b[31m", b"\x1b[31m"), ("cookie", b"s3"))), 1
    )
    assert "\x1b" not in text
    assert "s3" not in text


@pytest.mark.parametrize("state", ["waiting", "parked", "replayed", "resolved"])
def test_each_state_has_advice(state: str) -> None:
    mark = None if state in ("waiting", "parked") else state
    dead_letter = stored_dead_letter(state=mark, replays=int(state == "parked"))
    assert dead_letter_fields(dead_letter, 1)["state"] == state
    assert advice(dead_letter, dead_letter.state(1)) in dead_letter_text(dead_letter, 1)


def test_unreplayable_dead_letter_is_advised_to_be_resolved() -> None:
    assert "deadletters resolve 0-1" in advice(stored_dead_letter(value=None), "waiting")
