"""A consumer without a group: reads topics from any position, to their current end or forever.

Used by clients and the command line. It commits nothing, and takes no records from other consumers.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.codec import MalformedMessageError, decode
from streams.cluster.acls import topic_acls
from streams.cluster.authorization import require_acls
from streams.cluster.connection import (
    ClusterUnavailableError,
    consumer_options,
    stop_consumer,
    translate_errors,
)
from streams.cluster.topic_admin import missing_topics
from streams.settings import KafkaSettings
from streams.topics import Topic

POLL_MILLISECONDS = 500

Offsets = dict[TopicPartition, int]


class Received(NamedTuple):
    """A message about a request, with its topic and record key."""

    topic: Topic
    key: bytes | None
    message: dict[str, Any]


class TopicReader:
    """Reads topics from their end offsets at opening, unless it seeks.

    Args:
        kafka: the cluster.
        topics: source topics; all of them must exist.
    """

    def __init__(self, kafka: KafkaSettings, *topics: Topic) -> None:
        self._kafka = kafka
        self._topics = {topic.kafka_name(kafka.topic_prefix): topic for topic in topics}
        # All positions are explicit: a reset follows deleted records, or a new partition.
        self._consumer = AIOKafkaConsumer(
            *self._topics, **consumer_options(kafka, "client"), auto_offset_reset="earliest"
        )

    async def __aenter__(self) -> Self:
        try:
            async with translate_errors(self._kafka):
                await require_topics(self._kafka, *self._topics.values())
                await self._consumer.start()
                # Now, not at the first fetch: records may arrive in between.
                self._seek(await self._consumer.end_offsets(self._assigned()))
        except BaseException:
            await stop_consumer(self._consumer)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await stop_consumer(self._consumer)

    async def seek_to_beginning(self, *topics: Topic) -> None:
        """Seek to the oldest records of these topics, of all when none is named."""
        self._seek(await self._consumer.beginning_offsets(self._assigned(*topics)))

    async def rewind_to(self, moment: datetime, *topics: Topic) -> None:
        """Seek back to the first records of these topics that are not older than ``moment``."""
        milliseconds = int(moment.timestamp() * 1000)
        found = await self._consumer.offsets_for_times(
            dict.fromkeys(self._assigned(*topics), milliseconds)
        )
        for partition, at in found.items():
            # Never forward: records that arrived meanwhile, or from a slow clock, are unread.
            if at is not None and at.offset < await self._consumer.position(partition):
                self._consumer.seek(partition, at.offset)

    async def records(
        self, *, to_end: bool = False, until: Callable[[], bool] = lambda: False
    ) -> AsyncIterator[Received]:
        """Iterate over the messages as they arrive.

        All fetched records are yielded before the end, so that the next iteration misses none.

        Args:
            to_end: end after the records that exist now.
            until: end when this returns True.
        """
        ends = await self._consumer.end_offsets(self._assigned()) if to_end else None
        while not until() and (ends is None or await self._is_before(ends)):
            batches = await self._consumer.getmany(timeout_ms=POLL_MILLISECONDS)
            for partition, records in batches.items():
                for record in records:
                    if message := _message(record.value):
                        yield Received(self._topics[partition.topic], record.key, message)

    def _assigned(self, *topics: Topic) -> list[TopicPartition]:
        """Return the assigned partitions of topics, of all topics when none is named."""
        assigned = self._consumer.assignment()
        return [tp for tp in assigned if not topics or self._topics[tp.topic] in topics]

    def _seek(self, offsets: Offsets) -> None:
        for partition, offset in offsets.items():
            self._consumer.seek(partition, offset)

    async def _is_before(self, ends: Offsets) -> bool:
        return any([await self._consumer.position(tp) < end for tp, end in ends.items()])


def _message(value: bytes | None) -> dict[str, Any] | None:
    """Decode a message about a request; None for records of other producers."""
    try:
        message = decode(value or b"", dict[str, Any])
    except MalformedMessageError:
        return None
    return message if isinstance(message.get("request_id"), str) else None


async def require_topics(kafka: KafkaSettings, *reads: Topic, writes: Sequence[Topic] = ()) -> None:
    """Reject a cluster without these topics, or without the ACLs for them.

    A consumer would wait 40 s for a topic, a producer forever for an ACL.

    Raises:
        ClusterUnavailableError: a topic is missing, or no broker answers.
        MissingAclError: a topic may not be read or written.
    """
    await require_acls(kafka, topic_acls(kafka.topic_prefix, reads=reads, writes=writes))
    if missing := await missing_topics(kafka, (*reads, *writes)):
        raise ClusterUnavailableError(
            f"there is no topic {missing[0]} at {kafka.bootstrap}; "
            "run `clipmill topics apply` first"
        )
