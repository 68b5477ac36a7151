import json

import pytest

from streams.deadletters.presentation import (
    advice,
    format_value,
    mask_secrets,
    shown_value,
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


def test_unreplayable_dead_letter_is_advised_to_be_resolved() -> None:
    assert "deadletters resolve 0-1" in advice(stored_dead_letter(value=None), "waiting")


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, None, ""),
        (b'{"cookies": "s"}', "json", '{\n  "cookies": "***"\n}'),
        (b'"\\ud800"', "json", '"\N{REPLACEMENT CHARACTER}"'),
        (b"no JSON", "text", "no JSON"),
        (b"", "text", ""),
        (b"\x00\xff" * 9, "hex", f"000000  {'00 ff ' * 8}".rstrip() + "\n000010  00 ff"),
    ],
)
def test_value_is_shown_in_the_format_that_it_has(
    value: bytes | None, kind: str | None, text: str
) -> None:
    shown = shown_value(value)
    assert (shown.format, shown.bytes, shown.text) == (kind, len(value or b""), text)


def test_hex_dump_of_a_large_value_is_cut() -> None:
    assert shown_value(b"\xff" * 5_000).text.endswith("\n… and 904 bytes more")
