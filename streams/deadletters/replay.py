"""Replay of dead letters: republishes them to their origin topics; and the marks of operators.

Each chunk of records is published in one Kafka transaction with the marks that say so: an
interrupted replay loses no dead letter and replays none twice. All replays of a cluster have one
transactional id, so a new replay fences a running one, which ends with `ReplayFencedError`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import InvalidProducerEpoch, ProducerFenced, TransactionalIdAuthorizationFailed
from aiokafka.structs import RecordMetadata

from schemas.codec import encode
from schemas.deadletters import DeadLetterStatus
from streams.cluster.authorization import MissingAclError, explain_missing
from streams.cluster.connection import client_options, translate_errors
from streams.cluster.producer import ReliableProducer, Write
from streams.contract.role_acls import replay_acl
from streams.deadletters.dead_letter import DeadLetterRecord, replay_of
from streams.deadletters.plan import ReplayPlan, Totals
from streams.deadletters.store import DeadLetterStore
from streams.envelope import seal, trace_id_of
from streams.errors import OperatorError
from streams.records import Incoming, Outgoing
from streams.settings import KafkaSettings
from streams.topics import MARKS, MESSAGE_BYTES_MAX

CHUNK = 100
"""Maximum dead letters per chunk; lower rates use the number of one second."""


TRANSACTION_SECONDS = 10.0
"""Timeout of a transaction. The stages read committed records only: the open transaction of a
killed replay holds up its partitions until the next replay, or for this time and up to the 10 s
between two checks of the broker."""


class ReplayFencedError(OperatorError):
    """A newer replay fenced this one."""


@asynccontextmanager
async def open_replay_producer(kafka: KafkaSettings) -> AsyncIterator[AIOKafkaProducer]:
    """Yield the transactional producer of a replay; it fences the one of an earlier replay.

    Raises:
        ReplayFencedError: another replay has been started since.
        MissingAclError: the principal may not use the transactional id.
        ClusterUnavailableError: no broker answers.
    """
    acl = replay_acl(kafka.topic_prefix)
    producer = AIOKafkaProducer(
        **client_options(kafka, "deadletters"),
        transactional_id=acl.name,
        transaction_timeout_ms=int(TRANSACTION_SECONDS * 1000),
        max_request_size=MESSAGE_BYTES_MAX,
    )
    async with translate_errors(kafka):
        try:
            await producer.start()
            yield producer
        except TransactionalIdAuthorizationFailed:
            raise MissingAclError(explain_missing(kafka, [acl])) from None
        except (ProducerFenced, InvalidProducerEpoch):
            raise ReplayFencedError(
                "a newer replay fenced this one and continues with the remaining dead letters; "
                "only one replay can run at a time"
            ) from None
        finally:
            await producer.stop()


class ReplayRateLimiter:
    """Rate limiter of a replay, in dead letters per second; it delays whole chunks."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.chunk = max(1, min(CHUNK, int(per_second)))
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0

    async def acquire(self, dead_letters: int) -> None:
        """Wait for the chunk's permit; its cost delays the next one."""
        now = self._clock()
        if self._next > now:
            await self._sleep(self._next - now)
        self._next = max(now, self._next) + dead_letters / self._per_second


class Replay:
    """One replay run.

    Args:
        store: reads dead letters.
        producer: of `open_replay_producer`.
        topic_prefix: prefix of Kafka names.
        limiter: rate limit.
        progress: called with the totals after each chunk.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        producer: AIOKafkaProducer,
        *,
        topic_prefix: str,
        limiter: ReplayRateLimiter,
        progress: Callable[[Totals], object] = lambda _: None,
    ) -> None:
        self._store = store
        self._producer = producer
        self._prefix = topic_prefix
        self._limiter = limiter
        self._progress = progress
        self._marked: dict[TopicPartition, int] = {}

    async def run(self, plan: ReplayPlan) -> Totals:
        """Replay the selected dead letters; afterwards every reader finds their marks."""
        totals = Totals()
        chunk: list[DeadLetterRecord] = []
        async for dead_letter in self._store.dead_letters():
            if plan.is_exhausted(totals.replayed + len(chunk)):
                break
            if plan.selects(dead_letter, totals):
                chunk.append(dead_letter)
            if len(chunk) == self._limiter.chunk:
                await self._replay_chunk(chunk, plan.by, totals)
                chunk = []
        await self._replay_chunk(chunk, plan.by, totals)
        await self._store.wait_until_readable(self._marked)
        return totals

    async def _replay_chunk(
        self, dead_letters: Sequence[DeadLetterRecord], by: str, totals: Totals
    ) -> None:
        if not dead_letters:
            return
        await self._limiter.acquire(len(dead_letters))
        mark = DeadLetterStatus(state="replayed", by=by, at=datetime.now(UTC))
        replays = map(replay_of, dead_letters)
        marks = [mark_record(dead_letter, mark) for dead_letter in dead_letters]
        async with self._producer.transaction():
            sent = [await self._send(record) for record in (*replays, *marks)]
            published = await asyncio.gather(*sent)
        for each in published[-len(marks) :]:
            last = self._marked.get(each.topic_partition, -1)
            self._marked[each.topic_partition] = max(last, each.offset)
        totals.replayed += len(dead_letters)
        self._progress(totals)

    async def _send(self, record: Outgoing) -> Awaitable[RecordMetadata]:
        write = to_write(record, self._prefix)
        sent: Awaitable[RecordMetadata] = await self._producer.send(
            write.topic, write.value, key=write.key, headers=list(write.headers)
        )
        return sent


def mark_record(dead_letter: DeadLetterRecord, mark: DeadLetterStatus) -> Outgoing:
    """Return the record of an operator action on a dead letter."""
    metadata = dead_letter.metadata
    origin = (metadata.origin_topic, metadata.origin_partition, metadata.origin_offset)
    record = Incoming(
        *origin, dead_letter.key, dead_letter.value, dead_letter.headers, metadata.origin_timestamp
    )
    return seal(
        MARKS,
        dead_letter.id,
        encode(mark),
        kind="letter.marked.v1",
        step="deadletters",
        event_id=f"{dead_letter.id}:{mark.state}:{mark.at.isoformat()}",
        request_id=metadata.request_id,
        trace_id=trace_id_of(record),
    )


async def publish_mark(
    kafka: KafkaSettings, dead_letters: Sequence[DeadLetterRecord], mark: DeadLetterStatus
) -> None:
    """Mark dead letters without a replay.

    Raises:
        ClusterUnavailableError: no broker answers.
    """
    async with translate_errors(kafka), ReliableProducer(kafka) as producer:
        records = [mark_record(dead_letter, mark) for dead_letter in dead_letters]
        await producer.publish([to_write(each, kafka.topic_prefix) for each in records])


def to_write(record: Outgoing, topic_prefix: str) -> Write:
    """Resolve the Kafka topic name of a record; the partition is chosen by its key."""
    name = record.topic.kafka_name(topic_prefix)
    return Write(name, record.key, record.value, record.headers)
