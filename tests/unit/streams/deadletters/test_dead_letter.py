from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from schemas.deadletters import Mark
from streams.deadletters.dead_letter import read_letter, refusal, replay_of
from streams.deadletters.headers import REPLAY_OF, REPLAYS
from streams.deadletters.headers import make_letter as write_letter
from streams.records import Incoming
from streams.topics import VALIDATED
from tests.unit.streams.deadletters.letters import make_letter


@pytest.mark.parametrize(
    ("mark", "replays", "state"),
    [
        (None, 0, "waiting"),
        (None, 1, "parked"),
        ("replaying", 1, "replaying"),
        ("replayed", 0, "replayed"),
        ("resolved", 1, "resolved"),
    ],
)
def test_a_letter_s_state(mark: str | None, replays: int, state: str) -> None:
    assert make_letter(state=mark, replays=replays).state(1) == state


@pytest.mark.parametrize(
    ("mark", "replays", "force", "reason"),
    [
        (None, 0, False, None),
        ("replaying", 0, False, None),
        (None, 1, False, "parked, only with --force"),
        (None, 1, True, None),
        ("resolved", 0, False, "resolved, only with --force"),
        ("resolved", 0, True, None),
        ("replayed", 0, False, "replayed already"),
        ("replayed", 0, True, "replayed already"),
    ],
)
def test_what_is_put_back(mark: str | None, replays: int, force: bool, reason: str | None) -> None:
    letter = make_letter(state=mark, replays=replays)
    assert refusal(letter, replays_max=1, force=force) == reason


def test_what_cannot_be_put_back_says_why() -> None:
    empty, foreign = make_letter(value=None), make_letter(origin_topic="elsewhere")
    assert "no value" in (refusal(empty, replays_max=1, force=True) or "")
    assert "which topic" in (refusal(foreign, replays_max=1, force=True) or "")


def test_a_replay_is_the_record_and_its_number() -> None:
    record = replay_of(make_letter(name="2-5", headers=(("a", b"1"),)))
    assert (record.topic, record.key, record.value) == (VALIDATED, b"k", b"v")
    assert record.headers == (("a", b"1"), (REPLAYS, b"1"), (REPLAY_OF, b"2-5"))


def test_headers_do_not_grow_with_replays() -> None:
    headers = (("a", b"1"), (REPLAYS, b"1"), (REPLAY_OF, b"2-5"))
    again = replay_of(make_letter(name="2-9", headers=headers, replays=1))
    assert again.headers == (("a", b"1"), (REPLAYS, b"2"), (REPLAY_OF, b"2-9"))


def test_a_record_without_facts_is_a_letter_too() -> None:
    record = SimpleNamespace(
        headers=(("own", b"1"),), key=None, value=b"x", partition=1, offset=2, timestamp=1_000
    )
    letter = read_letter(record, {})
    assert (letter.id, letter.headers, letter.identity) == (
        "1-2-1000",
        (("own", b"1"),),
        ("1-2-1000",),
    )
    assert letter.facts.failed_at.timestamp() == 1.0


@pytest.mark.parametrize("place", ["dead letters", "origin"])
def test_a_topic_created_again_has_other_letters_at_the_same_places(place: str) -> None:
    """Neither is the new letter marked by what was done with the old one, nor its copy."""
    old, new = (
        make_record(at=at if place == "dead letters" else 1_000, origin=at) for at in (1_000, 2_000)
    )
    assert read_letter(old, {}).identity != read_letter(new, {}).identity
    if place == "dead letters":
        marks = {read_letter(old, {}).id: Mark(state="replayed", by="me", at=datetime.now(UTC))}
        assert read_letter(old, marks).state(1) == "replayed"
        assert read_letter(new, marks).state(1) == "waiting"


def make_record(*, at: int, origin: int) -> SimpleNamespace:
    """A dead letter on Kafka; times in milliseconds."""
    failed = Incoming(VALIDATED.name, 0, 7, None, b"\xff", (), origin / 1000)
    letter = write_letter(failed, step="extraction", code="internal.bug", reason="no")
    return SimpleNamespace(
        headers=letter.headers, key=None, value=b"\xff", partition=1, offset=2, timestamp=at
    )
