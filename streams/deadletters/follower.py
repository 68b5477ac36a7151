"""Follows the topics of dead letters and of marks, without a consumer group, into an index."""

import asyncio
import logging
import time
from typing import Any

from aiokafka import AIOKafkaConsumer

from schemas.codec import MalformedMessageError, decode
from schemas.deadletters import DeadLetterStatus
from streams.cluster.connection import consumer_options, stop_consumer, translate_errors
from streams.cluster.topic_reader import Offsets, require_topics
from streams.deadletters.dead_letter import read_dead_letter
from streams.deadletters.index import DeadLetterIndex
from streams.deadletters.store import mark_key
from streams.errors import OperatorError
from streams.settings import KafkaSettings
from streams.topics import DEADLETTERS, MARKS

log = logging.getLogger(__name__)

POLL_MILLISECONDS = 500

POLL_RECORDS = 200
"""Records of one poll: up to 10 ms of the event loop."""

RETRY_SECONDS = 5.0

RETENTION_SECONDS = 60.0
"""Pause between two checks of what Kafka has deleted."""


class DeadLetterFollower:
    """Reads both topics from their beginning, and goes on as records arrive.

    Args:
        kafka: the cluster.
        index: filled here; its `problem` says why it cannot be, such as a missing ACL.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        index: DeadLetterIndex,
        *,
        retention_seconds: float = RETENTION_SECONDS,
    ) -> None:
        self._kafka = kafka
        self._index = index
        self._retention_seconds = retention_seconds
        self._letters = DEADLETTERS.kafka_name(kafka.topic_prefix)
        self._marks = MARKS.kafka_name(kafka.topic_prefix)

    async def follow(self) -> None:
        """Read until cancelled; a complete index stays in use while the cluster is away."""
        reported = ""
        while True:
            try:
                await self._read()
            except OperatorError as error:
                if str(error) != reported:
                    reported = str(error)
                    log.warning("the dead-letter topics cannot be read: %s", reported)
                if self._index.problem is not None:
                    self._index.problem = error
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> None:
        """Read from the beginning; return when the topics are of another log."""
        consumer = AIOKafkaConsumer(
            *(self._letters, self._marks),
            **consumer_options(self._kafka, "deadletters"),
            auto_offset_reset="earliest",
            max_poll_records=POLL_RECORDS,
        )
        try:
            async with translate_errors(self._kafka):
                await require_topics(self._kafka, DEADLETTERS, MARKS)
                await consumer.start()
                assigned = frozenset(consumer.assignment())
                ends = await consumer.end_offsets(assigned)
                self._index.clear()
                checked_at = time.monotonic()
                while assigned == consumer.assignment():
                    await self._poll(consumer)
                    if self._index.problem is not None and await _has_read(consumer, ends):
                        self._index.complete()
                    if time.monotonic() - checked_at > self._retention_seconds:
                        checked_at = time.monotonic()
                        if not await self._drop_deleted(consumer):
                            return
        finally:
            await stop_consumer(consumer)

    async def _poll(self, consumer: Any) -> None:
        for partition, records in (await consumer.getmany(timeout_ms=POLL_MILLISECONDS)).items():
            apply = self._add if partition.topic == self._letters else self._mark
            for record in records:
                apply(record)

    def _add(self, record: Any) -> None:
        self._index.add(read_dead_letter(record, {}).summary())

    def _mark(self, record: Any) -> None:
        try:
            mark = decode(record.value or b"", DeadLetterStatus)
        except MalformedMessageError:
            return
        self._index.mark(mark_key(record), mark)

    async def _drop_deleted(self, consumer: Any) -> bool:
        """Drop what Kafka has deleted; return False for a recreated topic, which is shorter."""
        assigned = consumer.assignment()
        ends: Offsets = await consumer.end_offsets(assigned)
        if any([await consumer.position(tp) > end for tp, end in ends.items()]):
            return False
        starts: Offsets = await consumer.beginning_offsets(assigned)
        self._index.drop_before(
            {tp.partition: start for tp, start in starts.items() if tp.topic == self._letters}
        )
        return True


async def _has_read(consumer: Any, ends: Offsets) -> bool:
    return all([await consumer.position(tp) >= end for tp, end in ends.items()])
