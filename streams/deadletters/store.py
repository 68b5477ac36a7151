"""The dead letters and their marks as they stand on Kafka."""

from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import MalformedMessageError, decode
from schemas.deadletters import Mark
from streams.cluster.acls import topic_acls
from streams.cluster.authorization import require_acls
from streams.cluster.connection import ClusterAwayError, consumer_options, explained
from streams.cluster.topic_admin import missing_topics
from streams.deadletters.dead_letter import Letter, read_letter, replay_of
from streams.deadletters.headers import REPLAY_OF
from streams.records import Outgoing
from streams.settings import KafkaSettings
from streams.topics import BY_NAME, DEADLETTERS, MARKS, Topic

POLL_MILLISECONDS = 500

CLOCKS_APART = timedelta(minutes=1)
"""A broker that stamps records itself may be as much behind the clock of who marked a letter."""


class LetterStore:
    """Reads topics from their beginnings to their ends as of now, without a group."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def require_topics(self) -> None:
        """Refuse a cluster without dead letters: a consumer would wait 40 s for a topic.

        Raises:
            ClusterAwayError: no broker answers, or a topic is missing.
            MissingAclError: the topics may not be read.
        """
        acls = topic_acls(self._kafka.topic_prefix, reads=(DEADLETTERS, MARKS))
        await require_acls(self._kafka, acls)
        if missing := await missing_topics(self._kafka, (DEADLETTERS, MARKS)):
            raise ClusterAwayError(
                f"there is no topic {missing[0]} at {self._kafka.bootstrap}; "
                "run `clipmill topics apply` first"
            )

    async def letters(self) -> AsyncIterator[Letter]:
        """Iterate over the letters, each with its newest mark; of copies the first only.

        They come partition by partition, so that the first is always the same one.
        """
        marks = await self._marks()
        seen: set[tuple[object, ...]] = set()
        async for record in self._records(DEADLETTERS):
            letter = read_letter(record, marks)
            if letter.identity not in seen:
                seen.add(letter.identity)
                yield letter

    async def published(self, uncertain: Sequence[Letter]) -> set[str]:
        """Return the ids of those letters, all marked, that have been put back since the mark."""
        wanted = {letter.id: replay_of(letter) for letter in uncertain}
        found: set[str] = set()
        for topic, since in _places(uncertain).items():
            async for record in self._records(topic, since - CLOCKS_APART):
                name = _replayed_letter(record)
                if name in wanted and _is_same(record, wanted[name]):
                    found.add(name)
        return found

    async def _marks(self) -> dict[str, Mark]:
        marks: dict[str, Mark] = {}
        async for record in self._records(MARKS):
            try:
                marks[_text(record.key)] = decode(record.value or b"", Mark)
            except MalformedMessageError:
                continue
        return marks

    async def _records(self, topic: Topic, since: datetime | None = None) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            topic.kafka_name(self._kafka.topic_prefix),
            **consumer_options(self._kafka, "deadletters"),
            auto_offset_reset="earliest",
        )
        try:
            async with explained(self._kafka):
                await consumer.start()
            ends = await consumer.end_offsets(consumer.assignment())
            if since is not None:
                await _seek(consumer, ends, since)
            for place in sorted(ends):
                async for record in _until(consumer, place, ends[place]):
                    yield record
        finally:
            await consumer.stop()


async def _seek(consumer: Any, ends: dict[TopicPartition, int], since: datetime) -> None:
    milliseconds = int(since.timestamp() * 1000)
    starts = await consumer.offsets_for_times(dict.fromkeys(ends, milliseconds))
    for place, start in starts.items():
        consumer.seek(place, ends[place] if start is None else start.offset)


async def _until(consumer: Any, place: TopicPartition, end: int) -> AsyncIterator[Any]:
    while await consumer.position(place) < end:
        batches = await consumer.getmany(place, timeout_ms=POLL_MILLISECONDS)
        for record in batches.get(place, ()):
            if record.offset < end:
                yield record


def _places(letters: Iterable[Letter]) -> dict[Topic, datetime]:
    """Return the topics that letters came from, with the time of their earliest mark."""
    places: dict[Topic, datetime] = {}
    for letter in letters:
        assert letter.mark is not None
        topic = BY_NAME[letter.facts.origin_topic]
        places[topic] = min(letter.mark.at, places.get(topic, letter.mark.at))
    return places


def _replayed_letter(record: Any) -> str:
    return next((_text(value) for name, value in reversed(record.headers) if name == REPLAY_OF), "")


def _is_same(record: Any, wanted: Outgoing) -> bool:
    """Return whether a record is that replay, to the last byte: anyone can write a header."""
    found = (record.key, record.value, tuple(record.headers))
    return found == (wanted.key, wanted.value, wanted.headers)


def _text(data: bytes | None) -> str:
    return (data or b"").decode(errors="replace")
