import re
from datetime import timedelta

import pytest

from streams.topics import (
    BY_NAME,
    DELAYS,
    HEARTBEATS,
    MARKS,
    MESSAGE_BYTES_MAX,
    REQUEST_BYTES_MAX,
    REQUESTS,
    SIGNALS,
    TOPICS,
    Topic,
    delay_topic,
)

names = [topic.name for topic in TOPICS]


@pytest.mark.parametrize("topic", TOPICS, ids=names)
def test_every_topic_has_a_valid_kafka_name_and_a_purpose(topic: Topic) -> None:
    assert re.fullmatch(r"clipmill\.[a-z0-9.]+\.v1", topic.kafka_name())
    assert topic.purpose.endswith(".")
    assert topic.key
    assert topic.retention > timedelta(0)


def test_topic_names_are_the_published_ones() -> None:
    assert names == [
        *("requests", "videos.validated", "videos.extracted", "videos.selected", "errors"),
        *("retry.5s", "retry.30s", "retry.2m", "retry.10m", "retry.1h"),
        *("deadletters", "deadletters.marks", "attempts", "signals"),
        *("audit", "progress", "commands", "results", "heartbeats"),
    ]
    assert {name: topic.name for name, topic in BY_NAME.items()} == dict(zip(names, names))  # noqa: B905


def test_topic_prefix_is_configurable() -> None:
    assert REQUESTS.kafka_name("mine-") == "mine-requests.v1"


def test_only_shared_state_is_compacted_and_has_a_fixed_partition_count() -> None:
    assert [topic for topic in TOPICS if topic.compacted] == [MARKS, SIGNALS, HEARTBEATS]
    assert [topic for topic in TOPICS if topic.partitions] == [MARKS, SIGNALS]


def test_message_limit_has_room_for_the_largest_request_twice() -> None:
    assert MESSAGE_BYTES_MAX >= 2 * REQUEST_BYTES_MAX


def test_delays_increase_and_retention_exceeds_the_delay() -> None:
    waits = list(DELAYS.values())
    assert waits == sorted(set(waits))
    assert all(topic.retention > 24 * wait for topic, wait in DELAYS.items())


@pytest.mark.parametrize(
    ("seconds", "name"),
    [
        (-1, "retry.5s"),
        (0, "retry.5s"),
        (5, "retry.5s"),
        (5.001, "retry.30s"),
        (30, "retry.30s"),
        (31, "retry.2m"),
        (120, "retry.2m"),
        (121, "retry.10m"),
        (600, "retry.10m"),
        (601, "retry.1h"),
        (3600, "retry.1h"),
        (86_400, "retry.1h"),
    ],
)
def test_delay_topic_is_the_shortest_sufficient_one(seconds: float, name: str) -> None:
    assert delay_topic(timedelta(seconds=seconds)).name == name
