import logging

import pytest
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from streams.cluster.connection import ClusterAwayError
from streams.cluster.reply_topics import RECHECK_SECONDS, ReplyTopics
from streams.observability.metrics import REPLIES_REDIRECTED
from tests.unit.agents.builders import Clock


class Cluster:
    """A cluster with topics, and a producer that knows some of them."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.in_metadata: set[str] = set()
        self.asked = 0
        self.is_away = False
        self.clock = Clock(0.0)
        self.replies = ReplyTopics(self.in_metadata.__contains__, self._is_missing, self.clock)

    async def _is_missing(self, topic: str) -> bool:
        self.asked += 1
        if self.is_away:
            raise ClusterAwayError("away")
        return topic not in self.topics


def redirected(reason: str) -> float:
    return float(REPLIES_REDIRECTED.labels(reason)._value.get())


async def test_a_topic_in_the_metadata_takes_records_without_a_question() -> None:
    cluster = Cluster()
    cluster.in_metadata.add("t")
    assert await cluster.replies.takes("t")
    assert cluster.asked == 0


async def test_a_topic_that_is_new_to_the_producer_is_asked_for() -> None:
    cluster = Cluster()
    cluster.topics.add("t")
    assert await cluster.replies.takes("t")
    assert cluster.asked == 1


async def test_a_topic_that_is_missing_is_left_alone_for_a_while_and_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster, before = Cluster(), redirected("topic")
    caplog.set_level(logging.ERROR)
    for _ in range(3):
        assert not await cluster.replies.takes("t")
    assert (cluster.asked, len(caplog.records)) == (1, 1)
    assert "clipmill topics apply" in caplog.text
    assert redirected("topic") - before == 3
    cluster.topics.add("t")
    cluster.clock.now += RECHECK_SECONDS
    assert await cluster.replies.takes("t")


async def test_while_the_cluster_is_away_records_wait() -> None:
    cluster = Cluster()
    cluster.is_away = True
    assert await cluster.replies.takes("t")
    assert not await cluster.replies.refuses("t", KafkaTimeoutError())


@pytest.mark.parametrize("error", [KafkaTimeoutError(), NotLeaderForPartitionError()])
async def test_an_error_at_a_topic_that_exists_is_waited_out(error: KafkaTimeoutError) -> None:
    cluster = Cluster()
    cluster.topics.add("t")
    assert not await cluster.replies.refuses("t", error)


async def test_an_error_at_a_topic_that_is_gone_sends_the_record_elsewhere() -> None:
    cluster = Cluster()
    for _ in range(2):
        assert await cluster.replies.refuses("t", NotLeaderForPartitionError())
    assert cluster.asked == 1
    assert not await cluster.replies.takes("t")


async def test_a_topic_without_the_right_to_write_is_left_alone() -> None:
    cluster = Cluster()
    cluster.topics.add("t")
    cluster.in_metadata.add("t")
    assert await cluster.replies.refuses("t", TopicAuthorizationFailedError("t"))
    assert not await cluster.replies.takes("t")


@pytest.mark.parametrize("error", [MessageSizeTooLargeError("x"), RecordTooLargeError("x")])
async def test_a_record_that_is_too_large_goes_elsewhere_alone(
    error: MessageSizeTooLargeError,
) -> None:
    cluster, before = Cluster(), redirected("size")
    cluster.in_metadata.add("t")
    assert await cluster.replies.refuses("t", error)
    assert redirected("size") - before == 1
    assert await cluster.replies.takes("t")
