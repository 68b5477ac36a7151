from datetime import timedelta

import pytest

from streams.cluster.topic_admin import TopicProblem, find_problem, topic_config
from streams.settings import KafkaSettings
from streams.topics import MESSAGE_BYTES_MAX, REQUESTS, SIGNALS, TOPICS, Topic

KAFKA = KafkaSettings(partitions=3)


@pytest.mark.parametrize("topic", TOPICS, ids=[topic.name for topic in TOPICS])
def test_a_topic_as_it_is_created_has_no_problem(topic: Topic) -> None:
    assert find_problem(topic, topic.partitions or 3, topic_config(topic), KAFKA) is None


def test_records_are_kept_for_the_retention() -> None:
    topic = Topic("x", "k", "p.", retention=timedelta(hours=1, milliseconds=5))
    assert topic_config(topic) == {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "cleanup.policy": "delete",
        "retention.ms": "3600005",
    }


def test_a_compacted_topic_keeps_the_newest_for_ever() -> None:
    assert topic_config(Topic("x", "k", "p.", compacted=True)) == {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "cleanup.policy": "compact",
    }


def test_what_is_superseded_goes_when_a_segment_is_closed() -> None:
    topic = Topic("x", "k", "p.", compacted=True, segment=timedelta(minutes=1))
    assert topic_config(topic)["segment.ms"] == "60000"


def test_one_that_expires_keeps_it_for_the_retention() -> None:
    topic = Topic("x", "k", "p.", timedelta(hours=1), compacted=True, expires=True)
    assert topic_config(topic) == {
        "max.message.bytes": str(MESSAGE_BYTES_MAX),
        "cleanup.policy": "compact,delete",
        "retention.ms": "3600000",
    }


def test_the_order_in_which_policies_are_told_does_not_matter() -> None:
    told = topic_config(SIGNALS) | {"cleanup.policy": "delete,compact"}
    assert find_problem(SIGNALS, 1, told, KAFKA) is None


@pytest.mark.parametrize(
    ("topic", "partitions", "changes", "reason"),
    [
        pytest.param(REQUESTS, 4, {}, "has 4 partitions instead of 3", id="too many partitions"),
        pytest.param(REQUESTS, 1, {}, "has 1 partitions instead of 3", id="too few partitions"),
        pytest.param(SIGNALS, 3, {}, "has 3 partitions instead of 1", id="its own number"),
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
            id="records too small",
        ),
    ],
)
def test_a_wrong_topic_is_explained(
    topic: Topic, partitions: int, changes: dict[str, str], reason: str
) -> None:
    found = find_problem(topic, partitions, topic_config(topic) | changes, KAFKA)
    assert found == TopicProblem(topic, reason)


def test_a_missing_topic_can_be_created() -> None:
    assert find_problem(REQUESTS, None, {}, KAFKA) == TopicProblem(
        REQUESTS, "does not exist", missing=True
    )


def test_unknown_settings_of_a_topic_are_wrong() -> None:
    assert find_problem(REQUESTS, 3, {}, KAFKA) is not None


@pytest.mark.parametrize("config", [{"retention.ms": "1"}, {"max.message.bytes": "9999999"}])
def test_operators_may_keep_records_longer_and_larger(config: dict[str, str]) -> None:
    assert find_problem(REQUESTS, 3, topic_config(REQUESTS) | config, KAFKA) is None
