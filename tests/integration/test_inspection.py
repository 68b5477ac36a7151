"""The state of topics and groups on a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.inspection import ClusterState, GroupMember, GroupState, read_cluster
from streams.settings import KafkaSettings
from streams.topics import AUDIT, SELECTED
from tests.integration.kafka_client import admin, create_topics, produce_numbers

pytestmark = pytest.mark.asyncio(loop_scope="session")


@asynccontextmanager
async def joined(kafka: KafkaSettings, topic: str, group: str) -> AsyncIterator[None]:
    """A static member of a group that has committed the first offset."""
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=kafka.bootstrap,
        group_id=group,
        group_instance_id="worker-1",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        await consumer.commit(dict.fromkeys(consumer.assignment(), 1))
        yield
    finally:
        await consumer.stop()


async def read_until_known(kafka: KafkaSettings, topics: set[str], group: str) -> ClusterState:
    """Read until the coordinator of the group is elected; a new cluster has none at first."""
    async with asyncio.timeout(20):
        while True:
            state = await read_cluster(kafka, topics, {group: topics})
            if state.groups[group].error is None:
                return state
            await asyncio.sleep(0.1)


async def test_group_has_its_members_partitions_and_commits(kafka: KafkaSettings) -> None:
    await create_topics(kafka, SELECTED)
    await produce_numbers(kafka, SELECTED, range(7))
    topic, group = SELECTED.kafka_name(kafka.topic_prefix), f"{kafka.topic_prefix}download"
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    async with joined(kafka, topic, group):
        state = await read_until_known(kafka, {topic}, group)
    assert state.beginnings == dict.fromkeys(partitions, 0)
    assert sum(state.ends.values()) == 7
    found = state.groups[group]
    (member,) = found.members
    assert found.state == "Stable"
    assert member == GroupMember(name="worker-1", host=member.host, partitions={topic: (0, 1)})
    assert member.host == "127.0.0.1"
    assert {each: commit.offset for each, commit in found.committed.items()} == dict.fromkeys(
        partitions, 1
    )


async def test_missing_topic_is_not_created(kafka: KafkaSettings) -> None:
    topic, group = AUDIT.kafka_name(kafka.topic_prefix), f"{kafka.topic_prefix}ledger"
    state = await read_until_known(kafka, {topic}, group)
    assert (state.ends, state.groups[group]) == ({}, GroupState(state="Dead"))
    async with admin(kafka) as client:
        assert topic not in await client.list_topics()


async def test_cluster_that_is_away_is_reported() -> None:
    with pytest.raises(ClusterUnavailableError, match=r"127\.0\.0\.1:9"):
        await read_cluster(KafkaSettings(bootstrap="127.0.0.1:9"), set(), {})
