import asyncio
import time

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.topic_admin import TopicsError, apply_topics, check_topics, topic_config
from streams.settings import KafkaSettings
from streams.topics import REQUESTS, RESULTS, SIGNALS, TOPICS
from tests.integration.kafka_client import admin, closed_port, create_topics

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_apply_creates_all_topics_with_their_config(kafka: KafkaSettings) -> None:
    names = [topic.kafka_name(kafka.topic_prefix) for topic in TOPICS]
    assert await apply_topics(kafka, TOPICS) == names
    async with admin(kafka) as client:
        described = {each["topic"]: each for each in await client.describe_topics(names)}
        resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
        answers = await client.describe_configs(resources)
    configs = {
        name: {entry[0]: entry[1] for entry in entries}
        for answer in answers
        for *_, name, entries in answer.resources
    }
    for topic, name in zip(TOPICS, names, strict=True):
        assert len(described[name]["partitions"]) == (topic.partitions or 2)
        assert topic_config(topic).items() <= configs[name].items()


async def test_second_apply_changes_nothing(kafka: KafkaSettings) -> None:
    await apply_topics(kafka, TOPICS)
    assert await apply_topics(kafka, TOPICS) == []
    await check_topics(kafka, TOPICS)


async def test_concurrent_applies_both_succeed(kafka: KafkaSettings) -> None:
    await asyncio.gather(apply_topics(kafka, TOPICS), apply_topics(kafka, TOPICS))
    await check_topics(kafka, TOPICS)


async def test_check_names_missing_and_misconfigured_topics(kafka: KafkaSettings) -> None:
    await create_topics(kafka, REQUESTS, partitions=5)
    with pytest.raises(TopicsError) as caught:
        await check_topics(kafka, TOPICS)
    lines = str(caught.value).splitlines()
    prefix = kafka.topic_prefix
    assert f"  {prefix}requests.v1: has 5 partitions instead of 2" in lines
    assert f"  {prefix}results.v1: does not exist" in lines
    assert f"clipmill topics apply --bootstrap {kafka.bootstrap}" in lines[-1]


async def test_apply_creates_missing_topics_and_keeps_misconfigured_ones(
    kafka: KafkaSettings,
) -> None:
    await create_topics(kafka, SIGNALS, partitions=3)
    with pytest.raises(TopicsError, match=r"signals\.v1: has 3 partitions instead of 1") as caught:
        await apply_topics(kafka, TOPICS)
    assert RESULTS.kafka_name(kafka.topic_prefix) not in str(caught.value)
    with pytest.raises(TopicsError) as again:
        await check_topics(kafka, TOPICS)
    assert len(str(again.value).splitlines()) == 3, "only the misconfigured one is left"


async def test_too_many_replicas_are_refused_naming_the_topic(kafka: KafkaSettings) -> None:
    with pytest.raises(TopicsError, match=r"requests\.v1 cannot be created"):
        await apply_topics(kafka.model_copy(update={"replication_factor": 3}), TOPICS)


@pytest.mark.parametrize("action", [apply_topics, check_topics])
async def test_unreachable_broker_is_named_immediately(action: object) -> None:
    address = closed_port()
    started = time.monotonic()
    with pytest.raises(ClusterUnavailableError, match=f"no broker answers at {address}"):
        await action(KafkaSettings(bootstrap=address), TOPICS)  # type: ignore[operator]
    assert time.monotonic() - started < 5
