"""The reliable producer: retries until all replicas have acknowledged a record (acks=all).

One per process, shared by its stages. Publishing waits without a timeout during an outage. Delivery
is at-least-once: a retry may duplicate a record. Redirects records for closed reply topics.
"""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, repeat
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordTooLargeError
from aiokafka.structs import RecordMetadata

from streams.cluster.connection import client_options
from streams.cluster.local_delivery import LocalDelivery
from streams.cluster.producer_batches import Appended, BatchAppender, observe_batches, retrieve
from streams.cluster.reply_topics import ReplyTopics
from streams.cluster.shutdown import STOP_SECONDS, exit_after_timeout
from streams.cluster.topic_admin import missing_topics
from streams.errors import OperatorError
from streams.records import Header
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX, reply_topic

log = logging.getLogger(__name__)

LINGER_MS = 0
"""``linger.ms``: none, because under load records accumulate anyway while the previous batch is in
flight. Measured at 500 requests a second: median 44 ms, with 2 ms 52, with 5 ms 61."""

BATCH_BYTES = 131_072
"""``batch.size``; larger ones gained nothing at 500 requests a second."""

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Backoff between attempts during an outage; the last value repeats."""

UNAVAILABLE_SECONDS = 5.0
"""Time without a response after which the cluster counts as unavailable. A response takes
milliseconds, a leader election of a partition one or two seconds."""

PROBE_SECONDS = 5.0
"""Pause between probes of the cluster, so that an outage is detected also without writes."""

WATCH_SECONDS = 1.0
"""Pause between checks for an outage."""

REMIND_SECONDS = 60.0
"""Pause between log lines during an outage; thousands of records may wait."""


class RecordRefusedError(OperatorError):
    """The cluster will never accept this record.

    Attributes:
        acknowledged: metadata of the other records of the same publish, None for a record without
            acknowledgement.
    """

    acknowledged: Sequence[RecordMetadata | None] = ()


class Write(msgspec.Struct, frozen=True):
    """A record for a topic. ``partition`` None: chosen by the key.

    ``fallback`` is the topic that gets it when ``topic``, a reply topic, does not accept it.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    partition: int | None = None
    fallback: str | None = None

    @property
    def for_fallback(self) -> "Write":
        """The same record for the fallback topic."""
        assert self.fallback is not None
        return msgspec.structs.replace(self, topic=self.fallback, fallback=None)


class OutageLog:
    """The log lines of an outage: one when it is detected, one a minute, one when it is over.

    Args:
        recovery: text of the last line; the duration is added.
    """

    def __init__(self, recovery: str) -> None:
        self._recovery = recovery
        self._began: float | None = None
        self._logged = 0.0

    def observe(self, problem: str | None, now: float) -> str | None:
        """Return the line that is due, if any, with the current problem."""
        if problem is None:
            began, self._began = self._began, None
            return None if began is None else f"{self._recovery} after {now - began:.0f} s"
        if self._began is not None and now - self._logged < REMIND_SECONDS:
            return None
        if self._began is None:
            self._began = now
        self._logged = now
        return problem


class ReliableProducer:
    """The one producer of a process.

    Attributes:
        local_delivery: delivers what is acknowledged to consumers of this process.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._bootstrap = kafka.bootstrap
        self._waiting: dict[object, float] = {}
        self._latest_error, self._error_at = "", 0.0
        self._background: list[asyncio.Task[None]] = []
        self._producer = AIOKafkaProducer(
            **client_options(kafka, "producer"),
            acks="all",
            compression_type=None if kafka.compression_type == "none" else kafka.compression_type,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=MESSAGE_BYTES_MAX,
            request_timeout_ms=20_000,
        )
        observe_batches(self._producer)
        self._appender = BatchAppender(self._producer)
        self._replies = ReplyTopics(self._in_metadata, self._is_missing)
        self.local_delivery = LocalDelivery()

    async def __aenter__(self) -> Self:
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        self._background = [
            asyncio.create_task(self._probe()),
            asyncio.create_task(self._log_outages()),
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._background:
            task.cancel()
        with exit_after_timeout(STOP_SECONDS, "the producer"):
            await self._producer.stop()

    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        """Return the records' metadata when all are acknowledged; wait during an outage.

        Raises:
            RecordRefusedError: a record is larger than the cluster accepts.
        """
        if not writes:
            return []
        with self._track_wait():
            if any(write.fallback for write in writes):
                writes = [await self._route(write) for write in writes]
            return await self._deliver_all(writes)

    def partition_of(self, topic: str, key: bytes) -> int | None:
        """Return the partition of a key, None while the topic's partitions are unknown."""
        return self._appender.partition_of(topic, key)

    def problem(self) -> str | None:
        """Return since when the cluster has not responded, None while it does."""
        since = min(self._waiting.values(), default=None)
        waited = 0.0 if since is None else time.monotonic() - since
        if waited < UNAVAILABLE_SECONDS:
            return None
        return f"the cluster at {self._bootstrap} has not accepted records for {waited:.0f} s"

    async def available(self) -> None:
        """Wait until no write has been pending for `UNAVAILABLE_SECONDS`."""
        while self.problem() is not None:  # noqa: ASYNC110  (many writes, no common event)
            await asyncio.sleep(RETRY_SECONDS[0])

    @contextmanager
    def _track_wait(self) -> Iterator[None]:
        """Record how long a request to the cluster waits."""
        name = object()
        self._waiting[name] = time.monotonic()
        try:
            yield
        finally:
            del self._waiting[name]

    async def _log_outages(self) -> None:
        lines = OutageLog(f"the cluster at {self._bootstrap} accepts records again")
        while True:
            line = lines.observe(self._outage(), time.monotonic())
            if line is not None:
                log.warning("%s", line)
            await asyncio.sleep(WATCH_SECONDS)

    def _outage(self) -> str | None:
        problem = self.problem()
        if problem is None:
            return None
        is_of_outage = self._error_at >= min(self._waiting.values())
        error = self._latest_error if is_of_outage else "no answer"
        return f"{problem}, {len(self._waiting)} wait; latest error: {error}"

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            with self._track_wait():
                await self._refresh_metadata()

    async def _refresh_metadata(self) -> None:
        while not await self._producer.client.force_metadata_update():  # noqa: ASYNC110
            await asyncio.sleep(RETRY_SECONDS[-1])

    async def _deliver_all(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        acknowledged: dict[int, RecordMetadata] = {}
        waiting = dict(enumerate(writes))
        for seconds in chain(RETRY_SECONDS, repeat(RETRY_SECONDS[-1])):
            failed = await self._attempt(waiting, acknowledged)
            if not failed:
                break
            try:
                waiting = {
                    number: await self._after_error(waiting[number], error)
                    for number, error in failed.items()
                }
            except RecordRefusedError as refused:
                refused.acknowledged = [acknowledged.get(number) for number in range(len(writes))]
                raise
            await asyncio.sleep(seconds)
        return [acknowledged[number] for number in range(len(writes))]

    async def _attempt(
        self, writes: Mapping[int, Write], acknowledged: dict[int, RecordMetadata]
    ) -> dict[int, KafkaError]:
        """Send records in order; add the metadata of the acknowledged ones, return the others."""
        sent = {
            number: self._append(write) or await self._enqueue(write)
            for number, write in writes.items()
        }
        await asyncio.wait({each.acknowledgement for each in sent.values()})
        found: dict[int, RecordMetadata] = {}
        failed: dict[int, KafkaError] = {}
        for number, each in sent.items():
            try:
                found[number] = each.metadata()
            except KafkaError as error:
                failed[number] = error
        acknowledged |= found
        if failed:
            return _with_records_behind(failed, writes)
        self._deliver_locally(writes, found)
        return failed

    def _deliver_locally(
        self, writes: Mapping[int, Write], acknowledged: Mapping[int, RecordMetadata]
    ) -> None:
        topics = self.local_delivery.topics
        self.local_delivery.deliver(
            _to_consumed(writes[number], metadata)
            for number, metadata in acknowledged.items()
            if metadata.topic in topics
        )

    async def _after_error(self, write: Write, error: KafkaError) -> Write:
        """Return the record to send again; raises when the cluster refuses it."""
        if write.fallback and await self._replies.rejects(write.topic, error):
            return write.for_fallback
        if isinstance(error, MessageSizeTooLargeError | RecordTooLargeError):
            raise RecordRefusedError(
                f"a record of {len(write.value or b'')} bytes is too large for {write.topic}"
            ) from error
        self._latest_error, self._error_at = f"{write.topic}: {error!r}", time.monotonic()
        return write

    def _append(self, write: Write) -> Appended | None:
        return self._appender.append(
            write.topic, write.key, write.value, write.headers, write.partition
        )

    async def _enqueue(self, write: Write) -> Appended:
        """Send a record that cannot be appended to a batch at once."""
        # aiokafka 0.14 acknowledges all records of a batch with the time of the first one.
        timestamp = int(time.time() * 1_000)
        try:
            with self._appender.deferring(write.topic):
                future = await self._send(write, timestamp)
            # Retrieves the error of a publish that is cancelled before the acknowledgement.
            future.add_done_callback(retrieve)
            return Appended(future, 0, timestamp)
        except KafkaError as error:
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return Appended(failed, 0, timestamp)

    async def _route(self, write: Write) -> Write:
        """Return the record for its topic, or for its fallback when the topic is closed."""
        if write.fallback is None or await self._replies.accepts(write.topic):
            return write
        return write.for_fallback

    def _in_metadata(self, topic: str) -> bool:
        return self._producer.client.cluster.partitions_for_topic(topic) is not None

    async def _is_missing(self, topic: str) -> bool:
        return bool(await missing_topics(self._kafka, [reply_topic(topic)]))

    async def _send(self, write: Write, timestamp: int) -> "asyncio.Future[Any]":
        if write.key is None and write.value is None:
            return await self._send_empty(write, timestamp)
        future: asyncio.Future[Any] = await self._producer.send(
            write.topic,
            value=write.value,
            key=write.key,
            partition=write.partition,
            headers=list(write.headers),
            timestamp_ms=timestamp,
        )
        return future

    async def _send_empty(self, write: Write, timestamp: int) -> "asyncio.Future[Any]":
        """Send a record without key and value, which the producer's `send` rejects."""
        batch = self._producer.create_batch()
        batch.append(key=None, value=None, timestamp=timestamp, headers=list(write.headers))
        batch.close()
        partition = write.partition or min(await self._producer.partitions_for(write.topic))
        future: asyncio.Future[Any] = await self._producer.send_batch(
            batch, write.topic, partition=partition
        )
        return future


def _to_consumed(write: Write, metadata: RecordMetadata) -> ConsumerRecord[bytes, bytes]:
    """Return a published record as its consumer gets it."""
    return ConsumerRecord(
        metadata.topic,
        metadata.partition,
        metadata.offset,
        metadata.timestamp,
        metadata.timestamp_type,
        write.key,
        write.value,
        None,
        -1 if write.key is None else len(write.key),
        -1 if write.value is None else len(write.value),
        tuple(write.headers),
    )


def _with_records_behind(
    failed: Mapping[int, KafkaError], writes: Mapping[int, Write]
) -> dict[int, KafkaError]:
    """Add the acknowledged records behind a failed one of their key: all are sent again, in order.

    They were in another Kafka batch. Without the resend a changelog would end with an older row.
    """
    of_keys: dict[tuple[str, bytes | None], KafkaError] = {}
    found: dict[int, KafkaError] = {}
    for number, write in writes.items():
        error = failed.get(number) or of_keys.get((write.topic, write.key))
        if error is not None:
            found[number] = error
            if write.key is not None:
                of_keys[write.topic, write.key] = error
    return found
