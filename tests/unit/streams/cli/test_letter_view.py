import json

import pytest

from streams.cli.letter_view import advice, letter_fields, letter_text, masked, shown_value
from tests.unit.streams.deadletters.letters import make_letter

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
def test_values_of_cookies_are_not_shown(body: object) -> None:
    shown = shown_value(json.dumps(body).encode())
    assert SECRET not in shown
    assert "***" in shown


def test_everything_else_is_shown() -> None:
    body = {"a": [1, None, {"value": "v"}], "cookies": [{"name": "sid", "value": "x"}]}
    assert masked(body) == {"a": body["a"], "cookies": [{"name": "sid", "value": "***"}]}


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
    assert text in shown_value(value)


def test_a_hostile_header_says_nothing_to_the_terminal() -> None:
    text = letter_text(make_letter(headers=(("a\x1b[31m", b"\x1b[31m"), ("cookie", b"s3"))), 1)
    assert "\x1b" not in text
    assert "s3" not in text


@pytest.mark.parametrize("state", ["waiting", "parked", "replaying", "replayed", "resolved"])
def test_each_state_has_advice(state: str) -> None:
    mark = None if state in ("waiting", "parked") else state
    letter = make_letter(state=mark, replays=int(state == "parked"))
    assert letter_fields(letter, 1)["state"] == state
    assert advice(letter, letter.state(1)) in letter_text(letter, 1)


def test_what_cannot_be_put_back_can_be_resolved() -> None:
    assert "deadletters resolve 0-1" in advice(make_letter(value=None), "waiting")
