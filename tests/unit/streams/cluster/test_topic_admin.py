from datetime import timedelta

import pytest

from streams.cluster.topic_admin import TopicProblem, find_problem, topic_config
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX, REQUESTS, SIGNALS, TOPICS, Topic, changelog_topic

KAFKA = KafkaSettings(partitions=3)


@pytest.mark.parametrize("topic", TOPICS, ids=[topic.name for topic in TOPICS])
def test_topic_with_its_created_config_has_no_problem(topic: Topic) -> None:
    assert find_problem(topic, topic.partitions or 3, topic_config(topic), KAFKA) is None


def test_config_has_the_retention() -> None:
    topic = Topic("x", "k", "p.", retention=timedelta(hours=1, milliseconds=5))
    assert topic_config(topic) == {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "cleanup.policy": "delete",
        "retention.ms": "3600005",
    }


def test_compacted_topic_has_no_retention() -> None:
    assert topic_config(Topic("x", "k", "p.", compacted=True)) == {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "cleanup.policy": "compact",
        "delete.retention.ms": "86400000",
    }


def test_config_has_the_segment_duration() -> None:
    topic = Topic("x", "k", "p.", compacted=True, segment=timedelta(minutes=1))
    assert topic_config(topic)["segment.ms"] == "60000"


def test_compacted_topic_that_expires_has_a_retention() -> None:
    topic = Topic("x", "k", "p.", timedelta(hours=1), compacted=True, expires=True)
    assert topic_config(topic) == {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "cleanup.policy": "compact,delete",
        "retention.ms": "3600000",
    }


def test_order_of_cleanup_policies_is_irrelevant() -> None:
    config = topic_config(SIGNALS) | {"cleanup.policy": "delete,compact"}
    assert find_problem(SIGNALS, 1, config, KAFKA) is None


@pytest.mark.parametrize(
    ("topic", "partitions", "changes", "reason"),
    [
        pytest.param(REQUESTS, 4, {}, "has 4 partitions instead of 3", id="too many partitions"),
        pytest.param(REQUESTS, 1, {}, "has 1 partitions instead of 3", id="too few partitions"),
        pytest.param(SIGNALS, 3, {}, "has 3 partitions instead of 1", id="fixed partition count"),
        pytest.param(
            REQUESTS,
            3,
            {"cleanup.policy": "compact"},
            "has cleanup.policy=compact instead of delete",
            id="compacted",
        ),
        pytest.param(
            SIGNALS,
            1,
            {"cleanup.policy": "compact"},
            "has cleanup.policy=compact instead of compact,delete",
            id="signals that never expire",
        ),
        pytest.param(
            REQUESTS,
            3,
            {"max.message.bytes": "1048588"},
            f"has max.message.bytes below {MESSAGE_BYTES_MAX}",
            id="message limit too small",
        ),
        pytest.param(
            changelog_topic("ledger", "rows"),
            3,
            {"delete.retention.ms": "3600000"},
            "has delete.retention.ms below 86400000",
            id="tombstones gone too soon",
        ),
    ],
)
def test_mismatched_topic_is_explained(
    topic: Topic, partitions: int, changes: dict[str, str], reason: str
) -> None:
    found = find_problem(topic, partitions, topic_config(topic) | changes, KAFKA)
    assert found == TopicProblem(topic, reason)


def test_missing_topic_is_marked_missing() -> None:
    assert find_problem(REQUESTS, None, {}, KAFKA) == TopicProblem(
        REQUESTS, "does not exist", missing=True
    )


def test_topic_without_known_config_is_a_problem() -> None:
    assert find_problem(REQUESTS, 3, {}, KAFKA) is not None


@pytest.mark.parametrize("config", [{"retention.ms": "1"}, {"max.message.bytes": "9999999"}])
def test_longer_retention_and_larger_messages_are_no_problem(config: dict[str, str]) -> None:
    assert find_problem(REQUESTS, 3, topic_config(REQUESTS) | config, KAFKA) is None
