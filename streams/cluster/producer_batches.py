"""Batches of aiokafka's producer: appending to the open ones, and metrics of those that are sent.

`AIOKafkaProducer.send` creates a future for each record, and looks up the topic and hashes the key
each time: 27 µs a record, here 9, with one future for each batch. aiokafka has neither metrics nor
a hook for them, so its sender is wrapped.
"""

import random
import time
from asyncio import Future
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.partitioner import murmur2
from aiokafka.structs import RecordMetadata

from streams.observability.metrics import (
    PRODUCER_ACK_SECONDS,
    PRODUCER_BATCH_BYTES,
    PRODUCER_BATCH_RECORDS,
)
from streams.records import Header

PENDING_BATCHES = 64
"""Unsent batches of a partition; beyond them, `AIOKafkaProducer.send` waits for room. With 8 they
were full whenever all requests came at once, and 87 % of the records of ``audit`` took that slow
path: 0.95 ms CPU a request, with 64 0.91 (medians of six pairs in one worker). The records in
flight, which each stage bounds, are the true limit."""

RECORD_BYTES_MAX = 65_536
"""Bytes of key and value; larger records are left to `AIOKafkaProducer.send`, which checks them."""

CACHED_KEYS = 8_192
"""Keys whose partition hash is cached: each request has three records of the same key."""

CACHED_KEY_BYTES = 256
"""Length of cached keys: a dead letter has its client's key, of any length."""

LOG_APPEND_TIME = 1
"""Number of Kafka's ``message.timestamp.type`` with which the broker sets the time of a record."""

Send = Callable[[int, Mapping[Any, Any]], Awaitable[None]]
"""Sends batches, one for each partition, to a broker; returns when it has responded."""


class Appended(NamedTuple):
    """A record in a batch of the producer.

    Attributes:
        acknowledgement: result of the batch, whose offset is that of its first record.
        position: position in the batch.
        timestamp: epoch milliseconds that the producer has given it.
    """

    acknowledgement: "Future[RecordMetadata]"
    position: int
    timestamp: int

    def metadata(self) -> RecordMetadata:
        """Return the metadata of an acknowledged record; raises the error of its batch."""
        first = self.acknowledgement.result()
        is_broker_time = first.timestamp_type == LOG_APPEND_TIME
        return RecordMetadata(
            first.topic,
            first.partition,
            first.topic_partition,
            first.offset + self.position,
            first.timestamp if is_broker_time else self.timestamp,
            first.timestamp_type,
            first.log_start_offset,
        )


class BatchAppender:
    """Appends to the batches of one producer, which is started."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer: Any = producer
        self._partitions: dict[str, list[int]] = {}
        self._metadata: object = None
        self._deferred: Counter[str] = Counter()

    @contextmanager
    def deferring(self, topic: str) -> Iterator[None]:
        """Append nothing to a topic during the block: `AIOKafkaProducer.send` waits for room."""
        self._deferred[topic] += 1
        try:
            yield
        finally:
            self._deferred[topic] -= 1
            if not self._deferred[topic]:
                del self._deferred[topic]

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[Header],
        partition: int | None,
    ) -> Appended | None:
        """Append a record; None when `AIOKafkaProducer.send` has to: it waits, or raises."""
        size = len(key or b"") + len(value or b"")
        if (key is None and value is None) or size > RECORD_BYTES_MAX or topic in self._deferred:
            return None
        partitions = self._partitions_of(topic)
        if partition is None and partitions:
            partition = _choose(partitions, key)
        if partition not in partitions:
            return None
        tp = TopicPartition(topic, partition)
        while (batch := self._open_batch(tp)) is not None:
            # A batch without room for the record is closed.
            appended = batch._builder.append(  # noqa: SLF001
                timestamp=None, key=key, value=value, headers=list(headers)
            )
            if appended is not None:
                return Appended(batch.future, appended.offset, appended.timestamp)
        return None

    def partition_of(self, topic: str, key: bytes) -> int | None:
        """Return the partition of a key, None while the topic's partitions are unknown."""
        partitions = self._partitions_of(topic)
        return _choose(partitions, key) if partitions else None

    def _open_batch(self, tp: TopicPartition) -> Any:
        """Return the last batch of a partition, or a new one; None when too many are unsent."""
        accumulator = self._producer._message_accumulator  # noqa: SLF001
        if accumulator._closed or accumulator._exception is not None:  # noqa: SLF001
            return None
        pending = accumulator._batches.get(tp)  # noqa: SLF001
        if pending and not pending[-1]._builder.closed():  # noqa: SLF001
            return pending[-1]
        if pending and len(pending) >= PENDING_BATCHES:
            return None
        batch = accumulator._append_batch(accumulator.create_builder(), tp)  # noqa: SLF001
        # The error of a batch is retrieved by the futures of its records, and these have none.
        batch.future.add_done_callback(retrieve)
        return batch

    def _partitions_of(self, topic: str) -> list[int]:
        """Return the partitions of a topic, none while they are unknown."""
        # aiokafka replaces the dictionary when it has new metadata.
        metadata = self._producer.client.cluster._partitions  # noqa: SLF001
        if metadata is not self._metadata:
            self._metadata, self._partitions = metadata, {}
        if topic not in self._partitions:
            self._partitions[topic] = sorted(metadata.get(topic, ()))
        return self._partitions[topic]


def _choose(partitions: Sequence[int], key: bytes | None) -> int:
    """Return the partition of a key, as `aiokafka.partitioner.DefaultPartitioner`."""
    if key is None:
        return random.choice(partitions)  # noqa: S311
    number = _cached_hash(key) if len(key) <= CACHED_KEY_BYTES else _hash(key)
    return partitions[number % len(partitions)]


def _hash(key: bytes) -> int:
    return int(murmur2(key)) & 0x7FFFFFFF


_cached_hash = lru_cache(CACHED_KEYS)(_hash)


def retrieve(future: "Future[RecordMetadata]") -> None:
    """Retrieve the error of a future, so that asyncio does not log it."""
    if not future.cancelled():
        future.exception()


def observe_batches(producer: AIOKafkaProducer) -> None:
    """Observe every produce request of a producer, which must not be started yet."""
    sender: Any = producer._sender  # noqa: SLF001
    sender._send_produce_req = partial(_send, sender._send_produce_req)  # noqa: SLF001


async def _send(send: Send, node: int, batches: Mapping[Any, Any]) -> None:
    for batch in batches.values():
        PRODUCER_BATCH_RECORDS.observe(batch.record_count)
        PRODUCER_BATCH_BYTES.observe(batch._builder.size())  # noqa: SLF001
    started = time.perf_counter()
    await send(node, batches)
    PRODUCER_ACK_SECONDS.observe(time.perf_counter() - started)
