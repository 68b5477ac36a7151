"""An index of the dead letters in memory, without their values: bounded, newest first.

`DeadLetterFollower` fills it. A scan of the topic takes 35 ms for every 1,000 dead letters.
"""

import sys
from collections.abc import Mapping

import msgspec

from schemas.deadletters import DeadLetterStatus
from streams.deadletters.dead_letter import DeadLetterSummary, position_of
from streams.deadletters.headers import DeadLetterHeaders
from streams.errors import OperatorError

ENTRIES_MAX = 20_000
"""Dead letters in the index, 0.8 KB each. A filter takes 40 ms for all of them."""

DROPPED = ENTRIES_MAX // 10
"""Dead letters by which the index exceeds its bound before the oldest are dropped."""

_REPEATED = ("origin_topic", "step", "code", "reason", "platform", "engine", "version")


class IndexIncompleteError(OperatorError):
    """The topic is not read to its end yet."""


class DeadLetterIndex:
    """The newest dead letters with their latest marks, without duplicates.

    Attributes:
        dropped: number of older dead letters that the bound excludes.
        problem: why the index cannot be used, None when it can.
    """

    def __init__(self, entries_max: int = ENTRIES_MAX, dropped: int = DROPPED) -> None:
        self._entries_max = entries_max
        self._drop_at = entries_max + dropped
        self.clear()

    def clear(self) -> None:
        self._entries: dict[tuple[object, ...], DeadLetterSummary] = {}
        self._identities: dict[str, tuple[object, ...]] = {}
        self._early_marks: dict[str, DeadLetterStatus] = {}
        self.dropped = 0
        self.problem: OperatorError | None = IndexIncompleteError(
            "the dead letters are being read from Kafka; try again in a few seconds"
        )

    def complete(self) -> None:
        """Declare the index complete: both topics are read to their end."""
        self.problem = None
        self._early_marks.clear()

    def add(self, found: DeadLetterSummary) -> None:
        """Add a dead letter; of duplicates the one with the lowest position stays."""
        identity = found.identity
        known = self._entries.get(identity)
        if known is not None:
            if _position(known) <= _position(found):
                return
            del self._identities[known.id]
        mark = self._early_marks.pop(found.id, found.mark)
        metadata = _with_shared_texts(found)
        self._entries[identity] = msgspec.structs.replace(found, metadata=metadata, mark=mark)
        self._identities[found.id] = identity
        if len(self._entries) >= self._drop_at:
            self._drop_oldest()

    def mark(self, dead_letter_id: str, mark: DeadLetterStatus) -> None:
        """Apply an action; before the index is complete it may precede its dead letter."""
        identity = self._identities.get(dead_letter_id)
        if identity is not None:
            self._entries[identity] = msgspec.structs.replace(self._entries[identity], mark=mark)
        elif self.problem is not None:
            self._early_marks[dead_letter_id] = mark

    def drop_before(self, starts: Mapping[int, int]) -> None:
        """Drop dead letters before these offsets of their partitions: Kafka has deleted them."""
        for each in self.entries():
            partition, offset = _position(each)
            if offset < starts.get(partition, 0):
                self._drop(each)

    def get(self, dead_letter_id: str) -> DeadLetterSummary | None:
        identity = self._identities.get(dead_letter_id)
        return None if identity is None else self._entries[identity]

    def entries(self) -> list[DeadLetterSummary]:
        return list(self._entries.values())

    def _drop_oldest(self) -> None:
        oldest_first = sorted(self.entries(), key=lambda each: each.metadata.failed_at)
        for each in oldest_first[: -self._entries_max]:
            self._drop(each)
            self.dropped += 1

    def _drop(self, dead_letter: DeadLetterSummary) -> None:
        del self._entries[self._identities.pop(dead_letter.id)]


def in_replay_order(dead_letters: list[DeadLetterSummary]) -> list[DeadLetterSummary]:
    """Return dead letters in the order in which a replay reads them."""
    return sorted(dead_letters, key=_position)


def _position(dead_letter: DeadLetterSummary) -> tuple[int, int]:
    position = position_of(dead_letter.id)
    assert position is not None, dead_letter.id
    return position


def _with_shared_texts(dead_letter: DeadLetterSummary) -> DeadLetterHeaders:
    """Return the metadata with one copy of texts that many dead letters have."""
    metadata = dead_letter.metadata
    texts = {name: sys.intern(getattr(metadata, name)) for name in _REPEATED}
    return msgspec.structs.replace(metadata, **texts)
