"""A consumer without a group: reads topics from any place, to their present end or for ever.

Used by everything that looks at topics as a client does. It commits nothing, and takes nothing away
from other readers.
"""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.cluster.acls import topic_acls
from streams.cluster.authorization import require_acls
from streams.cluster.connection import ClusterAwayError, consumer_options, explained
from streams.cluster.topic_admin import missing_topics
from streams.settings import KafkaSettings
from streams.topics import Topic

POLL_MILLISECONDS = 500

Offsets = dict[TopicPartition, int]


class Received(NamedTuple):
    """A message about a request, with its topic and the key of its record."""

    topic: Topic
    key: bytes | None
    message: dict[str, Any]


class TopicReader:
    """Reads topics from the moment it opens, unless it is placed elsewhere.

    Args:
        kafka: the cluster.
        topics: what is read; all of them must exist.
    """

    def __init__(self, kafka: KafkaSettings, *topics: Topic) -> None:
        self._kafka = kafka
        self._topics = {topic.kafka_name(kafka.topic_prefix): topic for topic in topics}
        # Every start is given by an offset; what is reset was deleted there, or is a new partition.
        self._consumer = AIOKafkaConsumer(
            *self._topics, **consumer_options(kafka, "client"), auto_offset_reset="earliest"
        )

    async def __aenter__(self) -> Self:
        try:
            async with explained(self._kafka):
                await require_topics(self._kafka, *self._topics.values())
                await self._consumer.start()
                # Now, not at the first read: records may come in between.
                self._seek(await self._consumer.end_offsets(self._places()))
        except BaseException:
            await self._consumer.stop()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._consumer.stop()

    async def from_beginning(self, *topics: Topic) -> None:
        """Go to the oldest records of these topics."""
        self._seek(await self._consumer.beginning_offsets(self._places(*topics)))

    async def back_to(self, moment: datetime, *topics: Topic) -> None:
        """Go back to the first records of these topics that are not older than this."""
        milliseconds = int(moment.timestamp() * 1000)
        found = await self._consumer.offsets_for_times(
            dict.fromkeys(self._places(*topics), milliseconds)
        )
        for place, at in found.items():
            # Never forward: what has come meanwhile, or from a clock that is slow, is not read yet.
            if at is not None and at.offset < await self._consumer.position(place):
                self._consumer.seek(place, at.offset)

    async def records(
        self, *, to_end: bool = False, until: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[Received]:
        """Iterate over the messages as they come.

        What was fetched is given before the end, so that the next iteration misses nothing.

        Args:
            to_end: end after those that are there now.
            until: end when this is true.
        """
        ends = await self._consumer.end_offsets(self._places()) if to_end else None
        while not until() and (ends is None or await self._is_before(ends)):
            batches = await self._consumer.getmany(timeout_ms=POLL_MILLISECONDS)
            for place, records in batches.items():
                for record in records:
                    if message := _message(record.value):
                        yield Received(self._topics[place.topic], record.key, message)

    def _places(self, *topics: Topic) -> list[TopicPartition]:
        """Return the partitions of topics, of all topics when none is named."""
        assigned = self._consumer.assignment()
        return [place for place in assigned if not topics or self._topics[place.topic] in topics]

    def _seek(self, offsets: Offsets) -> None:
        for place, offset in offsets.items():
            self._consumer.seek(place, offset)

    async def _is_before(self, ends: Offsets) -> bool:
        return any([await self._consumer.position(place) < end for place, end in ends.items()])


def _message(value: bytes | None) -> dict[str, Any] | None:
    """Return a message about a request, None for what others may have written there."""
    try:
        message = json.loads(value or b"null")
    except ValueError:
        return None
    return message if isinstance(message, dict) and "request_id" in message else None


async def require_topics(kafka: KafkaSettings, *reads: Topic, writes: Sequence[Topic] = ()) -> None:
    """Refuse a cluster without these topics, or without the ACLs for them.

    A consumer would wait 40 s for a topic, a producer for ever for an ACL.

    Raises:
        ClusterAwayError: a topic is missing, or no broker answers.
        MissingAclError: a topic may not be read or written.
    """
    await require_acls(kafka, topic_acls(kafka.topic_prefix, reads=reads, writes=writes))
    if missing := await missing_topics(kafka, (*reads, *writes)):
        raise ClusterAwayError(
            f"there is no topic {missing[0]} at {kafka.bootstrap}; "
            "run `clipmill topics apply` first"
        )
