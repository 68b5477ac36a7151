"""Reads the state of topics and consumer groups: offsets, members, assigned partitions.

Used by the console. It changes nothing, and creates no topic.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import KafkaError, for_code
from aiokafka.structs import OffsetAndMetadata

from streams.cluster.connection import (
    NoBrokerError,
    client_options,
    stop_consumer,
    translate_errors,
)
from streams.settings import KafkaSettings

READ_SECONDS = 10.0
"""Timeout of a reading; one takes 30 to 50 ms."""

UUID_CHARACTERS = 37
"""Suffix of a member id: a dash and a UUID behind the instance id, or the client id."""


class GroupMember(msgspec.Struct, frozen=True, kw_only=True):
    """A member of a consumer group.

    Attributes:
        name: its instance id, or its client id without one.
        host: address that it connects from.
        partitions: its assigned partitions, by the Kafka name of the topic.
    """

    name: str
    host: str
    partitions: dict[str, tuple[int, ...]]


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """A consumer group.

    Attributes:
        state: as the broker names it: ``Stable``, ``Empty``, ``PreparingRebalance``, …
        committed: its committed offsets; -1 for none.
        error: why it could not be read; then the other fields are empty.
    """

    state: str = ""
    members: tuple[GroupMember, ...] = ()
    committed: Mapping[TopicPartition, OffsetAndMetadata] = {}
    error: str | None = None


class ClusterState(msgspec.Struct, frozen=True, kw_only=True):
    """Topics and groups at one time.

    Attributes:
        beginnings: beginning offsets of the partitions; those of missing topics have none.
        ends: end offsets of the same partitions.
        groups: by name.
    """

    beginnings: Mapping[TopicPartition, int]
    ends: Mapping[TopicPartition, int]
    groups: Mapping[str, GroupState]


async def read_cluster(
    kafka: KafkaSettings, topics: Collection[str], groups: Mapping[str, Collection[str]]
) -> ClusterState:
    """Read the state of topics and groups.

    Args:
        kafka: the cluster.
        topics: Kafka names of topics.
        groups: names of groups, each with the topics that it consumes.

    Raises:
        ClusterUnavailableError: the cluster does not answer.
    """
    try:
        async with asyncio.timeout(READ_SECONDS), translate_errors(kafka):
            return await _read(kafka, topics, groups)
    except TimeoutError:
        raise NoBrokerError(
            f"the cluster at {kafka.bootstrap} did not answer within {READ_SECONDS:.0f} s"
        ) from None


async def _read(
    kafka: KafkaSettings, topics: Collection[str], groups: Mapping[str, Collection[str]]
) -> ClusterState:
    options = client_options(kafka, "console")
    consumer = AIOKafkaConsumer(**options, enable_auto_commit=False)
    admin = AIOKafkaAdminClient(**options)
    try:
        await asyncio.gather(consumer.start(), admin.start())
        # All topics: a request for named ones may create them.
        existing = [each for each in await admin.describe_topics() if each["topic"] in topics]
        partitions = [
            TopicPartition(topic["topic"], each["partition"])
            for topic in existing
            for each in topic["partitions"]
        ]
        # An assigned consumer knows all leaders; otherwise it finds those of one topic in 100 ms. A
        # paused one fetches nothing.
        consumer.assign(partitions)
        consumer.pause(*partitions)
        beginnings, ends, *states = await asyncio.gather(
            consumer.beginning_offsets(partitions),
            consumer.end_offsets(partitions),
            *(_read_group(admin, name, _of(partitions, read)) for name, read in groups.items()),
        )
    finally:
        await asyncio.gather(stop_consumer(consumer), admin.close())
    found = dict(zip(groups, states, strict=True))
    return ClusterState(beginnings=beginnings, ends=ends, groups=found)


def _of(partitions: Iterable[TopicPartition], topics: Collection[str]) -> list[TopicPartition]:
    return [each for each in partitions if each.topic in topics]


async def _read_group(
    admin: AIOKafkaAdminClient, name: str, partitions: list[TopicPartition]
) -> GroupState:
    try:
        coordinator = await admin.find_coordinator(name)
        described, committed = await asyncio.gather(
            admin.describe_consumer_groups([name], coordinator),
            admin.list_consumer_group_offsets(name, coordinator, partitions),
        )
    except KafkaError as error:
        return GroupState(error=type(error).__name__)
    code, _, state, _, _, members, *_ = described[0].groups[0]
    if code:
        return GroupState(error=for_code(code).__name__)
    return GroupState(state=state, members=tuple(map(_member, members)), committed=committed)


def _member(described: Any) -> GroupMember:
    member_id, _, host, _, encoded = described
    partitions: dict[str, tuple[int, ...]] = {}
    # A member that has just joined has no assignment.
    if encoded:
        assignment = ConsumerProtocol.ASSIGNMENT.decode(encoded)
        partitions = {topic: tuple(sorted(numbers)) for topic, numbers in assignment.assignment}
    return GroupMember(
        name=member_id[:-UUID_CHARACTERS], host=host.lstrip("/"), partitions=partitions
    )
