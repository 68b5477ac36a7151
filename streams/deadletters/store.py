"""Reader of the dead-letter topic and of the marks on dead letters."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import MalformedMessageError, decode
from schemas.deadletters import DeadLetterStatus
from streams.cluster.acls import topic_acls
from streams.cluster.authorization import require_acls
from streams.cluster.connection import (
    ClusterUnavailableError,
    consumer_options,
    stop_consumer,
    translate_errors,
)
from streams.cluster.topic_admin import missing_topics
from streams.deadletters.dead_letter import (
    DeadLetterRecord,
    position_of,
    read_dead_letter,
)
from streams.errors import OperatorError
from streams.settings import KafkaSettings
from streams.topics import DEADLETTERS, MARKS, Topic

POLL_MILLISECONDS = 500

READABLE_POLL_SECONDS = 0.02
READABLE_SECONDS = 10.0
"""Maximum wait for transaction markers. A broker writes them within milliseconds; one that takes
longer is failing over, and the replay is committed anyway."""


class UnknownDeadLetterError(OperatorError):
    """No dead letter has the id, or the filter of the replay excludes it."""


def require_all(ids: Collection[str], found: Collection[str]) -> None:
    """Check that all ids are found.

    Raises:
        UnknownDeadLetterError: some are not.
    """
    if missing := sorted(set(ids) - set(found)):
        raise UnknownDeadLetterError(
            f"no such dead letter, or excluded by the filter: {', '.join(missing)}; "
            "`clipmill deadletters list` lists them"
        )


class DeadLetterStore:
    """Consumer without a group: scans topics from the beginning to the present end offsets."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka

    async def require_topics(self) -> None:
        """Fail early without the topics: a consumer would wait 40 s for a missing one.

        Raises:
            ClusterUnavailableError: no broker answers, or a topic is missing.
            MissingAclError: an ACL to read the topics is missing.
        """
        acls = topic_acls(self._kafka.topic_prefix, reads=(DEADLETTERS, MARKS))
        await require_acls(self._kafka, acls)
        if missing := await missing_topics(self._kafka, (DEADLETTERS, MARKS)):
            raise ClusterUnavailableError(
                f"there is no topic {missing[0]} at {self._kafka.bootstrap}; "
                "run `clipmill topics apply` first"
            )

    async def dead_letters(self) -> AsyncIterator[DeadLetterRecord]:
        """Iterate over the dead letters with their latest marks, without duplicates.

        Partitions are read one after the other, so that the same duplicate always comes first.
        """
        marks = await self._marks()
        seen: set[tuple[object, ...]] = set()
        async for record in self._records(DEADLETTERS):
            dead_letter = read_dead_letter(record, marks)
            if dead_letter.identity not in seen:
                seen.add(dead_letter.identity)
                yield dead_letter

    async def wait_until_readable(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Wait until the last stable offsets are past the given offsets, or `READABLE_SECONDS`.

        The coordinator confirms a commit before it writes the transaction markers; until they
        are written, a consumer of committed records takes the old end offset for the present one.
        """
        if not offsets:
            return
        async with self._consumer() as consumer:
            with suppress(TimeoutError):
                async with asyncio.timeout(READABLE_SECONDS):
                    while not await _are_readable(consumer, offsets):  # noqa: ASYNC110  (a broker sets no event)
                        await asyncio.sleep(READABLE_POLL_SECONDS)

    async def find(
        self, ids: Collection[str], marks: Mapping[str, DeadLetterStatus] | None = None
    ) -> list[DeadLetterRecord]:
        """Read dead letters at their positions.

        Args:
            ids: all of them must exist.
            marks: latest marks; None to read them.

        Raises:
            UnknownDeadLetterError: one does not exist, or no longer exists.
        """
        marks = await self._marks() if marks is None else marks
        found: dict[str, DeadLetterRecord] = {}
        async with self._consumer(DEADLETTERS) as consumer:
            topic = DEADLETTERS.kafka_name(self._kafka.topic_prefix)
            for partition, offset in sorted(filter(None, map(position_of, ids))):
                record = await _read_at(consumer, TopicPartition(topic, partition), offset)
                if record is not None:
                    dead_letter = read_dead_letter(record, marks)
                    found[dead_letter.id] = dead_letter
        require_all(ids, found)
        return [found[each] for each in dict.fromkeys(ids)]

    async def _marks(self) -> dict[str, DeadLetterStatus]:
        marks: dict[str, DeadLetterStatus] = {}
        async for record in self._records(MARKS):
            try:
                marks[mark_key(record)] = decode(record.value or b"", DeadLetterStatus)
            except MalformedMessageError:
                continue
        return marks

    async def _records(self, topic: Topic) -> AsyncIterator[Any]:
        async with self._consumer(topic) as consumer:
            ends = await consumer.end_offsets(consumer.assignment())
            for partition in sorted(ends):
                async for record in _read_until(consumer, partition, ends[partition]):
                    yield record

    @asynccontextmanager
    async def _consumer(self, *topics: Topic) -> AsyncIterator[Any]:
        consumer = AIOKafkaConsumer(
            *(topic.kafka_name(self._kafka.topic_prefix) for topic in topics),
            **consumer_options(self._kafka, "deadletters"),
            auto_offset_reset="earliest",
        )
        try:
            async with translate_errors(self._kafka):
                await consumer.start()
            yield consumer
        finally:
            await stop_consumer(consumer)


async def _are_readable(consumer: Any, offsets: Mapping[TopicPartition, int]) -> bool:
    stable = await consumer.end_offsets(list(offsets))
    return all(stable[partition] > offset for partition, offset in offsets.items())


async def _read_at(consumer: Any, partition: TopicPartition, offset: int) -> Any:
    """Return the record at an offset, None when there is none."""
    if partition not in consumer.assignment():
        return None
    consumer.pause(*consumer.assignment() - {partition})
    consumer.resume(partition)
    start = (await consumer.beginning_offsets([partition]))[partition]
    end = (await consumer.end_offsets([partition]))[partition]
    if not start <= offset < end:
        return None
    consumer.seek(partition, offset)
    async for record in _read_until(consumer, partition, offset + 1):
        return record if record.offset == offset else None
    return None


async def _read_until(consumer: Any, partition: TopicPartition, end: int) -> AsyncIterator[Any]:
    while await consumer.position(partition) < end:
        batches = await consumer.getmany(partition, timeout_ms=POLL_MILLISECONDS)
        for record in batches.get(partition, ()):
            if record.offset < end:
                yield record


def mark_key(record: Any) -> str:
    """Return the id of the dead letter that a record of `MARKS` is about."""
    key: bytes = record.key or b""
    return key.decode(errors="replace")
