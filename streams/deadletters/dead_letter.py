"""One dead letter: what it was, what is to be done with it, and the record that puts it back."""

from datetime import UTC, datetime
from typing import Any, Literal, get_args

import msgspec

from schemas.deadletters import Mark
from streams.deadletters.headers import (
    BATCH_TYPE,
    REPLAY_OF,
    REPLAYS,
    DeadLetterHeaders,
    split_headers,
)
from streams.records import Header, Outgoing
from streams.topics import BY_NAME

State = Literal["waiting", "replaying", "replayed", "parked", "resolved"]
"""``parked``: it was put back before and failed again; ``replaying``: a replay was interrupted."""

STATES: tuple[State, ...] = get_args(State)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter as it stands on Kafka.

    Attributes:
        id: its place and time there, ``<partition>-<offset>-<milliseconds>``: the marks outlive
            a topic that is deleted and created again.
        key: the record's own, byte for byte.
        value: the record's own, byte for byte.
        headers: the record's own, byte for byte.
        facts: where it comes from and why.
        mark: the newest act on it.
    """

    id: str
    key: bytes | None
    value: bytes | None
    headers: tuple[Header, ...]
    facts: DeadLetterHeaders
    mark: Mark | None = None

    @property
    def identity(self) -> tuple[object, ...]:
        """What copies have in common: a stage that was killed may write a letter twice."""
        facts = self.facts
        if not facts.origin_topic:
            return (self.id,)
        place = (facts.origin_topic, facts.origin_partition, facts.origin_offset)
        return (*place, facts.origin_timestamp, facts.step, facts.request_id, facts.replays)

    def state(self, replays_max: int) -> State:
        """Return what became of it; ``replays_max``: how often one may fail before it is parked."""
        if self.mark is not None:
            return self.mark.state
        return "parked" if self.facts.replays >= replays_max else "waiting"

    def obstacle(self) -> str | None:
        """Return why it can never be put back, None when it can."""
        if self.facts.origin_topic not in BY_NAME:
            return "nothing tells which topic it comes from"
        if ("content-type", BATCH_TYPE.encode()) in self.headers:
            return "it is a whole record batch that could not be decoded"
        if self.value is None:
            return "it has no value: it was empty, or too large to be kept"
        return None


def read_letter(record: Any, marks: dict[str, Mark]) -> Letter:
    """Return the letter in a Kafka record, whoever wrote it."""
    headers, facts = split_headers(record.headers)
    if facts is None:
        facts = DeadLetterHeaders(failed_at=datetime.fromtimestamp(record.timestamp / 1000, UTC))
    name = f"{record.partition}-{record.offset}-{record.timestamp}"
    return Letter(
        id=name,
        key=record.key,
        value=record.value,
        headers=headers,
        facts=facts,
        mark=marks.get(name),
    )


def replay_of(letter: Letter) -> Outgoing:
    """Return the record as it was, with the number of this replay; see `Letter.obstacle`."""
    headers = letter.headers
    if tuple(name for name, _ in headers[-2:]) == (REPLAYS, REPLAY_OF):
        headers = headers[:-2]
    added = ((REPLAYS, str(letter.facts.replays + 1).encode()), (REPLAY_OF, letter.id.encode()))
    topic = BY_NAME[letter.facts.origin_topic]
    return Outgoing(topic, letter.key, letter.value, (*headers, *added))


def refusal(letter: Letter, *, replays_max: int, force: bool) -> str | None:
    """Return why a letter is not put back now, None when it is.

    One that was put back is never put back again: what came of it is a request of its own, and
    its failure a letter of its own.
    """
    state = letter.state(replays_max)
    if obstacle := letter.obstacle():
        return obstacle
    if state == "replayed":
        return "replayed already"
    if state in ("parked", "resolved") and not force:
        return f"{state}, only with --force"
    return None
