"""Progress of consumer groups: end offsets, committed offsets, records finished ahead of them.

Feeds back-pressure, the lag metrics and the heartbeats of a worker; it commits nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from streams.cluster.commit_metadata import finished_ahead
from streams.cluster.connection import client_options, stop_consumer
from streams.runtime.back_pressure import FinishedCounts, GroupProgress
from streams.settings import KafkaSettings
from streams.topics import BY_NAME, READERS, Topic

MEASURE_SECONDS = 5.0
"""Timeout of a measurement; one takes 2 to 10 ms."""


def progress_of(
    partitions: Mapping[TopicPartition, int],
    beginnings: Mapping[TopicPartition, int],
    committed: Mapping[TopicPartition, OffsetAndMetadata],
    local: Mapping[TopicPartition, int],
) -> GroupProgress:
    """Return the progress of a group on one topic.

    Args:
        partitions: end offsets of the topic's partitions.
        beginnings: beginning offsets of partitions without a commit, where the group will start.
        committed: committed offsets; -1 for none.
        local: finished offsets of the partitions assigned to this process, newer than its commits.
    """
    end = finished = 0
    for partition, limit in partitions.items():
        commit = committed[partition]
        started = commit.offset >= 0
        done = commit.offset + finished_ahead(commit.metadata) if started else beginnings[partition]
        done = max(done, local.get(partition, 0))
        end += limit
        finished += min(done, limit)
    return GroupProgress(end, finished, is_remote=not local.keys() >= partitions.keys())


class GroupOffsets:
    """Fetches the progress of the reading group of every topic in `READERS`."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        options = client_options(kafka, "lag")
        self._consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
        self._admin = AIOKafkaAdminClient(**options)
        self._coordinators: dict[str, int] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, kafka: KafkaSettings) -> AsyncIterator["GroupOffsets"]:
        """Connect a consumer and an admin client for the block."""
        offsets = cls(kafka)
        try:
            await offsets._consumer.start()
            await offsets._admin.start()
            yield offsets
        finally:
            await offsets._admin.close()
            await stop_consumer(offsets._consumer)

    async def measure(self, local: FinishedCounts) -> dict[Topic, GroupProgress]:
        """Return the progress of the readers of each topic.

        Args:
            local: finished offsets of partitions that this process consumes itself.
        """
        prefix = self._kafka.topic_prefix
        named = {
            TopicPartition(BY_NAME[topic].kafka_name(prefix), partition): count
            for (topic, partition), count in local.items()
        }
        async with asyncio.timeout(MEASURE_SECONDS):
            ends = await self._consumer.end_offsets(
                [partition for topic in READERS for partition in self._partitions(topic)]
            )
            progress = await asyncio.gather(
                *(self._progress(topic, stage, ends, named) for topic, stage in READERS.items())
            )
        return dict(zip(READERS, progress, strict=True))

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the end offsets of partitions; one request to each leader."""
        if not partitions:
            return {}
        async with asyncio.timeout(MEASURE_SECONDS):
            found: dict[TopicPartition, int] = await self._consumer.end_offsets(list(partitions))
        return found

    async def timestamp(self, partition: TopicPartition, offset: int) -> float | None:
        """Return the timestamp of the first record from an offset on, epoch seconds.

        Fetches one batch of the log with a consumer of its own: records of open transactions too,
        as the end offset counts them. None when there is no record within `MEASURE_SECONDS`.
        """
        consumer = AIOKafkaConsumer(
            **client_options(self._kafka, "lag"),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # A broker returns one whole batch, however small the limit is.
            max_partition_fetch_bytes=1,
        )
        try:
            async with asyncio.timeout(MEASURE_SECONDS):
                await consumer.start()
                consumer.assign([partition])
                consumer.seek(partition, offset)
                record = await consumer.getone()
        except TimeoutError:
            return None
        finally:
            await stop_consumer(consumer)
        milliseconds: int = record.timestamp
        return milliseconds / 1000 if milliseconds > 0 else None

    async def committed(self, stage: str, topic: Topic) -> dict[int, int]:
        """Return a stage's committed offset of each partition of a topic, -1 for none."""
        group = f"{self._kafka.topic_prefix}{stage}"
        async with asyncio.timeout(MEASURE_SECONDS):
            found = await self._committed(group, self._partitions(topic))
        return {partition.partition: commit.offset for partition, commit in found.items()}

    async def _progress(
        self,
        topic: Topic,
        stage: str,
        ends: Mapping[TopicPartition, int],
        local: Mapping[TopicPartition, int],
    ) -> GroupProgress:
        partitions = self._partitions(topic)
        committed = await self._committed(f"{self._kafka.topic_prefix}{stage}", partitions)
        fresh = [each for each in partitions if committed[each].offset < 0]
        beginnings = await self._consumer.beginning_offsets(fresh) if fresh else {}
        return progress_of({each: ends[each] for each in partitions}, beginnings, committed, local)

    async def _committed(
        self, group: str, partitions: list[TopicPartition]
    ) -> dict[TopicPartition, OffsetAndMetadata]:
        if group not in self._coordinators:
            self._coordinators[group] = await self._admin.find_coordinator(group)
        try:
            found: dict[
                TopicPartition, OffsetAndMetadata
            ] = await self._admin.list_consumer_group_offsets(
                group, group_coordinator_id=self._coordinators[group], partitions=partitions
            )
            if missing := set(partitions) - set(found):
                # A forbidden group, or a coordinator that moved: the response has no partition.
                raise KafkaError(f"no offsets of group {group} for {sorted(missing)}")  # noqa: TRY301
        except KafkaError:
            del self._coordinators[group]
            raise
        return found

    def _partitions(self, topic: Topic) -> list[TopicPartition]:
        name = topic.kafka_name(self._kafka.topic_prefix)
        count = topic.partitions or self._kafka.partitions
        return [TopicPartition(name, partition) for partition in range(count)]
