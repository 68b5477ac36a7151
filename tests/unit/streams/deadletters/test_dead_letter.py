from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from schemas.deadletters import DeadLetterStatus
from streams.deadletters.dead_letter import read_dead_letter, refusal, replay_of
from streams.deadletters.headers import REPLAY_OF, REPLAYS, make_dead_letter
from streams.records import Incoming
from streams.topics import VALIDATED
from tests.unit.streams.deadletters.builders import stored_dead_letter


@pytest.mark.parametrize(
    ("mark", "replays", "state"),
    [
        (None, 0, "waiting"),
        (None, 1, "parked"),
        ("replayed", 0, "replayed"),
        ("resolved", 1, "resolved"),
    ],
)
def test_state_follows_from_mark_and_replays(mark: str | None, replays: int, state: str) -> None:
    assert stored_dead_letter(state=mark, replays=replays).state(1) == state


@pytest.mark.parametrize(
    ("mark", "replays", "force", "reason"),
    [
        (None, 0, False, None),
        (None, 1, False, "parked: requires --force"),
        (None, 1, True, None),
        ("resolved", 0, False, "resolved: requires --force"),
        ("resolved", 0, True, None),
        ("replayed", 0, False, "already replayed"),
        ("replayed", 0, True, "already replayed"),
    ],
)
def test_replay_is_refused_by_state_unless_forced(
    mark: str | None, replays: int, force: bool, reason: str | None
) -> None:
    dead_letter = stored_dead_letter(state=mark, replays=replays)
    assert refusal(dead_letter, replays_max=1, force=force) == reason


def test_refusal_of_an_unreplayable_dead_letter_names_the_reason() -> None:
    empty, foreign = stored_dead_letter(value=None), stored_dead_letter(origin_topic="elsewhere")
    assert "no value" in (refusal(empty, replays_max=1, force=True) or "")
    assert "no origin topic of clipmill" in (refusal(foreign, replays_max=1, force=True) or "")


def test_replay_is_the_original_record_with_replay_headers() -> None:
    record = replay_of(stored_dead_letter(name="2-5", headers=(("a", b"1"),)))
    assert (record.topic, record.key, record.value) == (VALIDATED, b"k", b"v")
    assert record.headers == (("a", b"1"), (REPLAYS, b"1"), (REPLAY_OF, b"2-5"))


def test_repeated_replay_does_not_accumulate_headers() -> None:
    headers = (("a", b"1"), (REPLAYS, b"1"), (REPLAY_OF, b"2-5"))
    again = replay_of(stored_dead_letter(name="2-9", headers=headers, replays=1))
    assert again.headers == (("a", b"1"), (REPLAYS, b"2"), (REPLAY_OF, b"2-9"))


def test_record_without_metadata_is_still_a_dead_letter() -> None:
    record = SimpleNamespace(
        headers=(("own", b"1"),), key=None, value=b"x", partition=1, offset=2, timestamp=1_000
    )
    dead_letter = read_dead_letter(record, {})
    assert (dead_letter.id, dead_letter.headers, dead_letter.identity) == (
        "1-2-1000",
        (("own", b"1"),),
        ("1-2-1000",),
    )
    assert dead_letter.metadata.failed_at.timestamp() == 1.0


@pytest.mark.parametrize("recreated", ["dead letters", "origin"])
def test_recreated_topic_gives_new_identities_at_the_same_offsets(recreated: str) -> None:
    """Marks of the old dead letter do not apply to the new one."""
    old, new = (
        consumed_dead_letter(at=at if recreated == "dead letters" else 1_000, origin=at)
        for at in (1_000, 2_000)
    )
    assert read_dead_letter(old, {}).identity != read_dead_letter(new, {}).identity
    if recreated == "dead letters":
        marks = {
            read_dead_letter(old, {}).id: DeadLetterStatus(
                state="replayed", by="me", at=datetime.now(UTC)
            )
        }
        assert read_dead_letter(old, marks).state(1) == "replayed"
        assert read_dead_letter(new, marks).state(1) == "waiting"


def consumed_dead_letter(*, at: int, origin: int) -> SimpleNamespace:
    """Return a dead letter as consumed from Kafka; timestamps in milliseconds."""
    failed = Incoming(VALIDATED.name, 0, 7, None, b"\xff", (), origin / 1000)
    dead_letter = make_dead_letter(failed, step="extraction", code="internal.bug", reason="no")
    return SimpleNamespace(
        headers=dead_letter.headers, key=None, value=b"\xff", partition=1, offset=2, timestamp=at
    )
