import asyncio
import time

import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from streams.cluster.connection import ClusterAwayError
from streams.cluster.topic_admin import TopicsError, apply_topics, check_topics, topic_config
from streams.settings import KafkaSettings
from streams.topics import REQUESTS, RESULTS, SIGNALS, TOPICS
from tests.integration.kafka_side import admin, closed_port, make_topics

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_apply_creates_all_topics_as_they_must_be(kafka: KafkaSettings) -> None:
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


async def test_a_second_apply_does_nothing(kafka: KafkaSettings) -> None:
    await apply_topics(kafka, TOPICS)
    assert await apply_topics(kafka, TOPICS) == []
    await check_topics(kafka, TOPICS)


async def test_two_applies_at_once_do_not_disturb_each_other(kafka: KafkaSettings) -> None:
    await asyncio.gather(apply_topics(kafka, TOPICS), apply_topics(kafka, TOPICS))
    await check_topics(kafka, TOPICS)


async def test_check_names_what_is_missing_and_what_is_wrong(kafka: KafkaSettings) -> None:
    await make_topics(kafka, REQUESTS, partitions=5)
    with pytest.raises(TopicsError) as caught:
        await check_topics(kafka, TOPICS)
    lines = str(caught.value).splitlines()
    prefix = kafka.topic_prefix
    assert f"  {prefix}requests.v1: has 5 partitions instead of 2" in lines
    assert f"  {prefix}results.v1: does not exist" in lines
    assert f"clipmill topics apply --bootstrap {kafka.bootstrap}" in lines[-1]


async def test_apply_creates_what_is_missing_and_never_changes_what_is_wrong(
    kafka: KafkaSettings,
) -> None:
    await make_topics(kafka, SIGNALS, partitions=3)
    with pytest.raises(TopicsError, match=r"signals\.v1: has 3 partitions instead of 1") as caught:
        await apply_topics(kafka, TOPICS)
    assert RESULTS.kafka_name(kafka.topic_prefix) not in str(caught.value)
    with pytest.raises(TopicsError) as again:
        await check_topics(kafka, TOPICS)
    assert len(str(again.value).splitlines()) == 3, "only the wrong one is left"


async def test_too_many_replicas_are_refused_with_the_topic(kafka: KafkaSettings) -> None:
    with pytest.raises(TopicsError, match=r"requests\.v1 cannot be created"):
        await apply_topics(kafka.model_copy(update={"replication_factor": 3}), TOPICS)


@pytest.mark.parametrize("action", [apply_topics, check_topics])
async def test_without_a_broker_the_address_is_named_at_once(action: object) -> None:
    address = closed_port()
    started = time.monotonic()
    with pytest.raises(ClusterAwayError, match=f"no broker answers at {address}"):
        await action(KafkaSettings(bootstrap=address), TOPICS)  # type: ignore[operator]
    assert time.monotonic() - started < 5
