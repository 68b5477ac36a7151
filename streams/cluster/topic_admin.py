"""Creates and checks topics: partitions, retention, log compaction. Changes no existing one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import TopicAlreadyExistsError, for_code

from streams.cluster.acls import Acl, check_acls
from streams.cluster.authorization import MissingAclError, explain_missing, require_acls
from streams.cluster.connection import AUTHORIZATION_ERRORS, client_options, translate_errors
from streams.errors import OperatorError
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX, Topic

VISIBLE_SECONDS = 15
"""Timeout until a created topic is in every broker's metadata: measured 5-50 ms."""

VISIBLE_POLL_SECONDS = 0.02

MISSING = "does not exist"

DELETE_RETENTION_SECONDS = 86_400.0
"""Time for which compacted topics keep tombstones. A worker that was away for less than half of it
reads on from its rows on disk."""


class TopicsError(OperatorError):
    """Topics are missing or misconfigured; the text names each one and the remedy."""


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """A misconfigured topic, or a ``missing`` one, which can be created."""

    topic: Topic
    reason: str
    missing: bool = False


async def apply_topics(kafka: KafkaSettings, topics: Sequence[Topic]) -> list[str]:
    """Create missing topics and return their names; existing ones are not changed.

    Raises:
        TopicsError: an existing topic is misconfigured.
        ClusterUnavailableError: no broker answers.
        MissingAclError: topics may not be described, or not be created.
    """
    async with translate_errors(kafka):
        return await _apply(kafka, topics)


async def _apply(kafka: KafkaSettings, topics: Sequence[Topic]) -> list[str]:
    await require_acls(kafka, check_acls(topics, kafka.topic_prefix))
    async with _Admin(kafka) as admin:
        problems = await admin.check(topics)
        created = await admin.create([problem.topic for problem in problems if problem.missing])
        _raise_problems([problem for problem in problems if not problem.missing], kafka)
    return created


async def check_topics(kafka: KafkaSettings, topics: Sequence[Topic]) -> None:
    """Check that these topics exist with the right configuration.

    Raises:
        TopicsError: they do not.
        ClusterUnavailableError: no broker answers.
        MissingAclError: the topics may not be described.
    """
    await require_acls(kafka, check_acls(topics, kafka.topic_prefix))
    async with translate_errors(kafka), _Admin(kafka) as admin:
        problems = await admin.check(topics)
    _raise_problems(problems, kafka)


async def missing_topics(kafka: KafkaSettings, topics: Sequence[Topic]) -> list[str]:
    """Return the Kafka names of the topics that do not exist.

    Raises:
        ClusterUnavailableError: no broker answers.
    """
    async with translate_errors(kafka), _Admin(kafka) as admin:
        return await admin.missing(topics)


async def cluster_id(kafka: KafkaSettings) -> str:
    """Return the id that a cluster was formatted with.

    Raises:
        ClusterUnavailableError: no broker answers.
    """
    async with translate_errors(kafka), _Admin(kafka) as admin:
        return await admin.cluster_id()


def _raise_problems(problems: list[TopicProblem], kafka: KafkaSettings) -> None:
    if problems:
        lines = [f"{each.topic.kafka_name(kafka.topic_prefix)}: {each.reason}" for each in problems]
        raise TopicsError(
            "topics are missing or misconfigured:\n  "
            + "\n  ".join(lines)
            + f"\nRun `clipmill topics apply --bootstrap {kafka.bootstrap}`; it creates what is "
            "missing and never changes what exists."
        )


def topic_config(topic: Topic) -> dict[str, str]:
    """Return the topic's configuration on the broker."""
    config = {"max.message.bytes": str(MESSAGE_BYTES_MAX)}
    if topic.segment is not None:
        config["segment.ms"] = str(int(topic.segment.total_seconds() * 1000))
    if topic.compacted and not topic.expires:
        delete_retention = str(int(DELETE_RETENTION_SECONDS * 1000))
        return config | {"cleanup.policy": "compact", "delete.retention.ms": delete_retention}
    retention = str(int(topic.retention.total_seconds() * 1000))
    if topic.compacted:
        return config | {"cleanup.policy": "compact,delete", "retention.ms": retention}
    return config | {"cleanup.policy": "delete", "retention.ms": retention}


def find_problem(
    topic: Topic, partitions: int | None, config: dict[str, str], kafka: KafkaSettings
) -> TopicProblem | None:
    """Compare a topic with its state on the broker; ``partitions`` is None if it is missing."""
    wanted = topic.partitions or kafka.partitions
    if partitions is None:
        reason = "does not exist, but kafka.reply_topics names it" if topic.foreign else MISSING
        return TopicProblem(topic, reason, missing=True)
    if topic.foreign:
        return None
    if partitions != wanted:
        return TopicProblem(topic, f"has {partitions} partitions instead of {wanted}")
    wanted_config = topic_config(topic)
    policy = wanted_config["cleanup.policy"]
    # The broker lists several policies in any order.
    if set(config.get("cleanup.policy", "").split(",")) != set(policy.split(",")):
        return TopicProblem(
            topic, f"has cleanup.policy={config.get('cleanup.policy')} instead of {policy}"
        )
    for name in ("max.message.bytes", "delete.retention.ms"):
        least = int(wanted_config.get(name, 0))
        if int(config.get(name, 0)) < least:
            return TopicProblem(topic, f"has {name} below {least}")
    return None


class _Admin:
    """An admin client for `Topic` objects."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._client = AIOKafkaAdminClient(**client_options(kafka, "admin"))

    async def __aenter__(self) -> Self:
        try:
            await self._client.start()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._client.close()

    def _name(self, topic: Topic) -> str:
        return topic.kafka_name(self._kafka.topic_prefix)

    async def cluster_id(self) -> str:
        return str((await self._client.describe_cluster())["cluster_id"])

    async def check(self, topics: Sequence[Topic]) -> list[TopicProblem]:
        existing = set(await self._client.list_topics())
        present = [topic for topic in topics if self._name(topic) in existing]
        partitions = await self._partitions(present)
        configs = await self._configs(present)
        found = (
            find_problem(
                topic,
                partitions.get(self._name(topic)),
                configs.get(self._name(topic), {}),
                self._kafka,
            )
            for topic in topics
        )
        return [problem for problem in found if problem]

    async def _partitions(self, topics: list[Topic]) -> dict[str, int]:
        described = await self._client.describe_topics([self._name(topic) for topic in topics])
        return {each["topic"]: len(each["partitions"]) for each in described}

    async def _configs(self, topics: list[Topic]) -> dict[str, dict[str, str]]:
        if not topics:
            return {}
        resources = [
            ConfigResource(ConfigResourceType.TOPIC, self._name(topic)) for topic in topics
        ]
        configs: dict[str, dict[str, str]] = {}
        for response in await self._client.describe_configs(resources):
            for code, _message, _type, name, entries in response.resources:
                if code:
                    raise for_code(code)(name)
                configs[name] = {entry[0]: entry[1] for entry in entries}
        return configs

    async def create(self, topics: list[Topic]) -> list[str]:
        if not topics:
            return []
        response = await self._client.create_topics([self._new(topic) for topic in topics])
        for name, code, *message in response.topic_errors:
            error = for_code(code)
            if error in AUTHORIZATION_ERRORS:
                raise MissingAclError(
                    explain_missing(self._kafka, [Acl("topic", name, ("CREATE",))])
                )
            if code and error is not TopicAlreadyExistsError:
                raise TopicsError(f"{name} cannot be created: {error.__name__} {_first(message)}")
        await self._until_visible(topics)
        return [self._name(topic) for topic in topics]

    async def missing(self, topics: Sequence[Topic]) -> list[str]:
        existing = set(await self._client.list_topics())
        return [name for name in map(self._name, topics) if name not in existing]

    async def _until_visible(self, topics: Sequence[Topic]) -> None:
        """Wait for the metadata: the controller responds before the brokers know the topics."""
        try:
            async with asyncio.timeout(VISIBLE_SECONDS):
                while missing := await self.missing(topics):  # noqa: ASYNC110  (no event)
                    await asyncio.sleep(VISIBLE_POLL_SECONDS)
        except TimeoutError:
            raise TopicsError(f"{', '.join(missing)}: created, but no broker knows them") from None

    def _new(self, topic: Topic) -> NewTopic:
        return NewTopic(
            self._name(topic),
            num_partitions=topic.partitions or self._kafka.partitions,
            replication_factor=self._kafka.replication_factor,
            topic_configs=topic_config(topic),
        )


def _first(parts: list[Any]) -> str:
    return str(parts[0]) if parts and parts[0] else ""
