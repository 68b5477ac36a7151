"""Writing records: a record counts as written when all replicas have it."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordTooLargeError
from aiokafka.structs import RecordMetadata

from streams.cluster.connection import client_options
from streams.cluster.producer_metrics import observe_batches
from streams.cluster.reply_topics import ReplyTopics
from streams.cluster.shutdown import STOP_SECONDS, ends_within
from streams.cluster.topic_admin import missing_topics
from streams.records import Header
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX, reply_topic

log = logging.getLogger(__name__)

LINGER_MS = 0
"""Records do not wait for company: under load they find it anyway while the batch before is under
way. Measured at 500 requests a second: median 44 ms, with 2 ms 52, with 5 ms 61."""

BATCH_BYTES = 131_072
"""Batch size; more brought nothing at 500 requests a second."""

RETRY_SECONDS = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Waits between attempts while the cluster is away; the last one repeats."""

PATIENCE_SECONDS = 5.0
"""A cluster that does not answer for this long is a problem. An answer takes milliseconds, a
change of a partition's leader one or two seconds."""

PROBE_SECONDS = 5.0
"""Pause between questions to the cluster, so that it is missed also when nothing is written."""

WATCH_SECONDS = 1.0
"""Pause between looks at whether the cluster is a problem."""

REMIND_SECONDS = 60.0
"""Pause between log lines while it is; thousands of records may wait."""


class RecordRefusedError(Exception):
    """The cluster will never take this record."""


@dataclass(frozen=True, slots=True)
class Write:
    """One record with its place. ``partition`` None: chosen by the key.

    ``fallback`` is the topic that gets it when ``topic``, a reply topic, does not take it.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header] = ()
    partition: int | None = None
    fallback: str | None = None

    @property
    def redirected(self) -> "Write":
        """The same record for the fallback."""
        assert self.fallback is not None
        return replace(self, topic=self.fallback, fallback=None)


class OutageLines:
    """The log lines of an outage: one when it is noticed, one a minute, one when it is over.

    Args:
        over: what the last one says; the duration is added.
    """

    def __init__(self, over: str) -> None:
        self._over = over
        self._began: float | None = None
        self._logged = 0.0

    def observe(self, problem: str | None, now: float) -> str | None:
        """Return the line that is due, if any, with the problem as it is at this moment."""
        if problem is None:
            began, self._began = self._began, None
            return None if began is None else f"{self._over} after {now - began:.0f} s"
        if self._began is not None and now - self._logged < REMIND_SECONDS:
            return None
        if self._began is None:
            self._began = now
        self._logged = now
        return problem


class ReliableProducer:
    """The one producer of a process."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._bootstrap = kafka.bootstrap
        self._waiting: dict[object, float] = {}
        self._latest_error = "no answer"
        self._beside: list[asyncio.Task[None]] = []
        self._producer = AIOKafkaProducer(
            **client_options(kafka, "producer"),
            acks="all",
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            max_request_size=MESSAGE_BYTES_MAX,
            request_timeout_ms=20_000,
        )
        observe_batches(self._producer)
        self._replies = ReplyTopics(self._in_metadata, self._is_missing)

    async def __aenter__(self) -> Self:
        try:
            await self._producer.start()
        except BaseException:
            await self._producer.stop()
            raise
        self._beside = [
            asyncio.create_task(self._probe()),
            asyncio.create_task(self._log_outages()),
        ]
        return self

    async def __aexit__(self, *exc: object) -> None:
        for task in self._beside:
            task.cancel()
        with ends_within(STOP_SECONDS, "the producer"):
            await self._producer.stop()

    async def publish(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        """Return where each record is when all are acknowledged; wait while the cluster is away.

        Raises:
            RecordRefusedError: a record is larger than the cluster takes.
        """
        with self._patience():
            if any(write.fallback for write in writes):
                writes = [await self._routed(write) for write in writes]
            if len(writes) == 1:
                return [await self._deliver(writes[0])]
            return await self._deliver_all(writes)

    def problem(self) -> str | None:
        """Return since when the cluster does not answer, None while it does."""
        since = min(self._waiting.values(), default=None)
        waited = 0.0 if since is None else time.monotonic() - since
        if waited < PATIENCE_SECONDS:
            return None
        return f"the cluster at {self._bootstrap} does not take records for {waited:.0f} s"

    async def available(self) -> None:
        """Return when nothing that is to be written has waited for long."""
        while self.problem() is not None:  # noqa: ASYNC110  (many writes, no common event)
            await asyncio.sleep(RETRY_SECONDS[0])

    @contextmanager
    def _patience(self) -> Iterator[None]:
        """Note how long something waits for the cluster."""
        name = object()
        self._waiting[name] = time.monotonic()
        try:
            yield
        finally:
            del self._waiting[name]

    async def _log_outages(self) -> None:
        lines = OutageLines(f"the cluster at {self._bootstrap} takes records again")
        while True:
            line = lines.observe(self._outage(), time.monotonic())
            if line is not None:
                log.warning("%s", line)
            await asyncio.sleep(WATCH_SECONDS)

    def _outage(self) -> str | None:
        problem = self.problem()
        if problem is None:
            self._latest_error = "no answer"
            return None
        return f"{problem}, {len(self._waiting)} wait; latest error: {self._latest_error}"

    async def _probe(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            with self._patience():
                await self._answer()

    async def _answer(self) -> None:
        while not await self._producer.client.force_metadata_update():  # noqa: ASYNC110
            await asyncio.sleep(RETRY_SECONDS[-1])

    async def _deliver_all(self, writes: Sequence[Write]) -> list[RecordMetadata]:
        offered = [await self._offer(write) for write in writes]
        outcomes = await asyncio.gather(*offered, return_exceptions=True)
        places: list[RecordMetadata] = []
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, KafkaError):
                places.append(await self._deliver(write, first_error=outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                places.append(outcome)
        return places

    async def _offer(self, write: Write) -> "asyncio.Future[Any]":
        try:
            return await self._send(write)
        except KafkaError as error:
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return failed

    async def _deliver(self, write: Write, first_error: KafkaError | None = None) -> RecordMetadata:
        failures = 0
        error = first_error
        while True:
            if error is not None:
                if write.fallback and await self._replies.refuses(write.topic, error):
                    return await self._deliver(write.redirected)
                await self._wait_out(write, error, failures)
                failures += 1
            try:
                place: RecordMetadata = await (await self._send(write))
            except KafkaError as caught:
                error = caught
            else:
                return place

    async def _routed(self, write: Write) -> Write:
        """Return the record for its topic, or for its fallback when the topic is away."""
        if write.fallback is None or await self._replies.takes(write.topic):
            return write
        return write.redirected

    def _in_metadata(self, topic: str) -> bool:
        return self._producer.client.cluster.partitions_for_topic(topic) is not None

    async def _is_missing(self, topic: str) -> bool:
        return bool(await missing_topics(self._kafka, [reply_topic(topic)]))

    async def _send(self, write: Write) -> "asyncio.Future[Any]":
        if write.key is None and write.value is None:
            return await self._send_nothing(write)
        future: asyncio.Future[Any] = await self._producer.send(
            write.topic,
            value=write.value,
            key=write.key,
            partition=write.partition,
            headers=list(write.headers),
        )
        return future

    async def _send_nothing(self, write: Write) -> "asyncio.Future[Any]":
        """Send a record without key and value: other clients can, the producer's `send` cannot."""
        batch = self._producer.create_batch()
        batch.append(key=None, value=None, timestamp=None, headers=list(write.headers))
        batch.close()
        partition = write.partition or min(await self._producer.partitions_for(write.topic))
        future: asyncio.Future[Any] = await self._producer.send_batch(
            batch, write.topic, partition=partition
        )
        return future

    async def _wait_out(self, write: Write, error: KafkaError, failures: int) -> None:
        if isinstance(error, MessageSizeTooLargeError | RecordTooLargeError):
            raise RecordRefusedError(
                f"a record of {len(write.value or b'')} bytes is too large for {write.topic}"
            ) from error
        self._latest_error = f"{write.topic}: {error!r}"
        await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
