import pytest

from streams.cli.dead_letter_view import dead_letter_text
from streams.deadletters.presentation import advice, dead_letter_fields
from tests.unit.streams.deadletters.builders import stored_dead_letter


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
