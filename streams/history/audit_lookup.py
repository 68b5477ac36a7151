"""Audit history of a request, looked up by record key.

Used by `clipmill status`, and by `clipmill watch` for its start position.

Audit records are keyed by request id, so the records of one request are in one partition. Members
of a batch and replays are requests of their own (``b/0``, ``b/replay-1``): their partitions are
read as soon as records read so far name them.
"""

import re
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Self

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import DefaultPartitioner

from schemas.codec import MalformedMessageError, decode
from streams.client import is_about
from streams.cluster.connection import consumer_options, stop_consumer, translate_errors
from streams.cluster.topic_reader import POLL_MILLISECONDS, require_topics
from streams.settings import KafkaSettings
from streams.topics import AUDIT

CLOCK_SKEW_MILLISECONDS = 3_600_000
"""Clock skew: a request id may be this much later than the timestamps of its records. Brokers
reject timestamps more than an hour ahead of them (``message.timestamp.after.max.ms``)."""

_DEFAULT_ID = re.compile(r"(?:requests|commands)-\d+-\d+-(?P<milliseconds>\d{13})(?:/.*)?")
_REPLAY = re.compile(r"(?P<first>.+)/replay-(?P<number>\d{1,4})")


class _HistoryBatch(msgspec.Struct, frozen=True):
    id: str
    size: int


class _HistoryJob(msgspec.Struct, frozen=True):
    batch: _HistoryBatch | None = None


class _Outcome(msgspec.Struct, frozen=True):
    members: int = 0


class _Member(msgspec.Struct, frozen=True):
    size: int = 0


class HistoryEntry(msgspec.Struct, frozen=True):
    """Fields of an audit record that name related requests."""

    request_id: str
    job: _HistoryJob | None = None
    outcome: _Outcome | None = None
    member: _Member | None = None

    @property
    def members(self) -> int:
        """Member count of the batch or listing of the record, 0 for a single request."""
        if self.job and self.job.batch and self.job.batch.id == self.request_id:
            return self.job.batch.size
        if self.member:
            return self.member.size
        return self.outcome.members if self.outcome else 0


def related_ids(entries: Iterable[HistoryEntry]) -> Iterator[str]:
    """Iterate over the ids of members and replays that may have audit records of their own."""
    for entry in entries:
        yield _next_replay(entry.request_id)
        for index in range(entry.members):
            member = f"{entry.request_id}/{index}"
            yield member
            yield _next_replay(member)


def _next_replay(request_id: str) -> str:
    replay = _REPLAY.fullmatch(request_id)
    if replay is None:
        return f"{request_id}/replay-1"
    return f"{replay['first']}/replay-{int(replay['number']) + 1}"


def created_at(request_id: str) -> int | None:
    """Return the epoch milliseconds in a generated id, None for an id chosen by a client."""
    named = _DEFAULT_ID.fullmatch(request_id)
    return int(named["milliseconds"]) if named else None


class AuditReader:
    """Consumer of the audit topic, bounded by the end offsets at the time of opening.

    Records are filtered by key before decoding: memory grows with matches only.

    Attributes:
        partitions: all partitions of the topic, in order.
        records_read: number of records fetched, matches or not.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._consumer = AIOKafkaConsumer(
            AUDIT.kafka_name(kafka.topic_prefix),
            **consumer_options(kafka, "client"),
            auto_offset_reset="earliest",
        )
        self._ends: dict[TopicPartition, int] = {}
        self.partitions: list[TopicPartition] = []
        self.records_read = 0

    async def __aenter__(self) -> Self:
        try:
            await self._consumer.start()
            # Before the first fetch: only partitions resumed by `read` are ever fetched.
            self._consumer.pause(*self._consumer.assignment())
            self.partitions = sorted(self._consumer.assignment())
            self._ends = await self._consumer.end_offsets(self.partitions)
        except BaseException:
            await stop_consumer(self._consumer)
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await stop_consumer(self._consumer)

    def partition_of(self, request_id: str) -> TopicPartition:
        """Return the partition that the producer's default partitioner chooses for a request."""
        found: TopicPartition = DefaultPartitioner()(request_id.encode(), self.partitions, [])
        return found

    async def read(
        self, partitions: Collection[TopicPartition], request_id: str, since: int | None = None
    ) -> list[Any]:
        """Return the records of a request, its members and replays in some partitions.

        Args:
            partitions: the partitions to read.
            request_id: the request.
            since: start in epoch milliseconds, None for the beginning of the log.
        """
        await self._seek(partitions, since)
        found: list[Any] = []
        self._consumer.resume(*partitions)
        while await self._is_before_end(partitions):
            batches = await self._consumer.getmany(*partitions, timeout_ms=POLL_MILLISECONDS)
            for records in batches.values():
                self.records_read += len(records)
                found += [record for record in records if is_about(record.key, request_id)]
        self._consumer.pause(*partitions)
        return found

    async def _seek(self, partitions: Collection[TopicPartition], since: int | None) -> None:
        if since is None:
            starts = await self._consumer.beginning_offsets(list(partitions))
        else:
            found = await self._consumer.offsets_for_times(dict.fromkeys(partitions, since))
            starts = {
                each: self._ends[each] if at is None else at.offset for each, at in found.items()
            }
        for partition, offset in starts.items():
            self._consumer.seek(partition, offset)

    async def _is_before_end(self, partitions: Iterable[TopicPartition]) -> bool:
        return any([await self._consumer.position(each) < self._ends[each] for each in partitions])


async def read_history(kafka: KafkaSettings, request_id: str) -> list[dict[str, Any]]:
    """Return the audit records of a request, its members and replays, oldest first.

    Reads the partition of the request, and those of members and replays from the timestamp of its
    first record. The whole topic is read only when that partition has no record of the id: the id
    is unknown, or partitions were added since.
    """
    async with translate_errors(kafka):
        await require_topics(kafka, AUDIT)
        async with AuditReader(kafka) as reader:
            records = await find_records(reader, request_id)
    return sorted(_messages(records), key=lambda message: str(message.get("at")))


async def find_records(reader: AuditReader, request_id: str) -> list[Any]:
    """Return the records of a request, its members and replays, unordered."""
    read = {reader.partition_of(request_id)}
    records = await reader.read(read, request_id, _less_clock_skew(created_at(request_id)))
    if not records:
        return await reader.read(reader.partitions, request_id)
    while more := _unread_partitions(reader, records, read):
        records += await reader.read(more, request_id, _less_clock_skew(_first_timestamp(records)))
        read |= more
    return records


async def history_start(kafka: KafkaSettings, request_id: str) -> datetime | None:
    """Return a lower bound of the timestamps of a request, its members and replays.

    None without a record of the request itself.
    """
    async with translate_errors(kafka):
        await require_topics(kafka, AUDIT)
        async with AuditReader(kafka) as reader:
            records = await reader.read(
                [reader.partition_of(request_id)],
                request_id,
                _less_clock_skew(created_at(request_id)),
            )
    start = _less_clock_skew(_first_timestamp(records))
    return None if start is None else datetime.fromtimestamp(start / 1000, UTC)


def _first_timestamp(records: Iterable[Any]) -> int | None:
    return min((record.timestamp for record in records), default=None)


def _less_clock_skew(milliseconds: int | None) -> int | None:
    """Return the earliest timestamp that a related record may have."""
    return None if milliseconds is None else max(0, milliseconds - CLOCK_SKEW_MILLISECONDS)


def _unread_partitions(
    reader: AuditReader, records: Iterable[Any], read: set[TopicPartition]
) -> set[TopicPartition]:
    """Return the unread partitions of members and replays."""
    more: set[TopicPartition] = set()
    for related in related_ids(_entries(records)):
        # A batch of 1,000 covers all partitions after its first members.
        if len(read) + len(more) == len(reader.partitions):
            break
        more |= {reader.partition_of(related)} - read
    return more


def _entries(records: Iterable[Any]) -> list[HistoryEntry]:
    entries = []
    for record in records:
        try:
            entries.append(decode(record.value or b"", HistoryEntry))
        except MalformedMessageError:
            continue
    return entries


def _messages(records: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Decode the audit messages; skip records that foreign producers wrote."""
    for record in records:
        try:
            message = decode(record.value or b"", dict[str, Any])
        except MalformedMessageError:
            continue
        if "request_id" in message:
            yield message
