import logging

import pytest
from aiokafka.errors import (
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NotLeaderForPartitionError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.reply_topics import RECHECK_SECONDS, ReplyTopics
from streams.observability.metrics import REPLIES_REDIRECTED
from tests.unit.agents.builders import Clock


class ReplyTopicsHarness:
    """Reply topics over the topics of a fake cluster, and those in the producer's metadata."""

    def __init__(self) -> None:
        self.topics: set[str] = set()
        self.in_metadata: set[str] = set()
        self.lookups = 0
        self.is_unavailable = False
        self.clock = Clock(0.0)
        self.replies = ReplyTopics(self.in_metadata.__contains__, self._is_missing, self.clock)

    async def _is_missing(self, topic: str) -> bool:
        self.lookups += 1
        if self.is_unavailable:
            raise ClusterUnavailableError("away")
        return topic not in self.topics


def redirected_count(reason: str) -> float:
    return float(REPLIES_REDIRECTED.labels(reason)._value.get())


async def test_topic_in_the_metadata_is_accepted_without_lookup() -> None:
    harness = ReplyTopicsHarness()
    harness.in_metadata.add("t")
    assert await harness.replies.accepts("t")
    assert harness.lookups == 0


async def test_topic_missing_in_the_metadata_is_looked_up() -> None:
    harness = ReplyTopicsHarness()
    harness.topics.add("t")
    assert await harness.replies.accepts("t")
    assert harness.lookups == 1


async def test_missing_topic_is_rejected_until_recheck_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    harness, before = ReplyTopicsHarness(), redirected_count("topic")
    caplog.set_level(logging.ERROR)
    for _ in range(3):
        assert not await harness.replies.accepts("t")
    assert (harness.lookups, len(caplog.records)) == (1, 1)
    assert "clipmill topics apply" in caplog.text
    assert redirected_count("topic") - before == 3
    harness.topics.add("t")
    harness.clock.now += RECHECK_SECONDS
    assert await harness.replies.accepts("t")


async def test_records_are_kept_while_the_cluster_is_unavailable() -> None:
    harness = ReplyTopicsHarness()
    harness.is_unavailable = True
    assert await harness.replies.accepts("t")
    assert not await harness.replies.rejects("t", KafkaTimeoutError())


@pytest.mark.parametrize("error", [KafkaTimeoutError(), NotLeaderForPartitionError()])
async def test_error_on_an_existing_topic_is_no_rejection(error: KafkaTimeoutError) -> None:
    harness = ReplyTopicsHarness()
    harness.topics.add("t")
    assert not await harness.replies.rejects("t", error)


async def test_error_on_a_deleted_topic_redirects_the_record() -> None:
    harness = ReplyTopicsHarness()
    for _ in range(2):
        assert await harness.replies.rejects("t", NotLeaderForPartitionError())
    assert harness.lookups == 1
    assert not await harness.replies.accepts("t")


async def test_topic_without_write_acl_is_rejected() -> None:
    harness = ReplyTopicsHarness()
    harness.topics.add("t")
    harness.in_metadata.add("t")
    assert await harness.replies.rejects("t", TopicAuthorizationFailedError("t"))
    assert not await harness.replies.accepts("t")


@pytest.mark.parametrize("error", [MessageSizeTooLargeError("x"), RecordTooLargeError("x")])
async def test_only_the_too_large_record_is_redirected(
    error: MessageSizeTooLargeError,
) -> None:
    harness, before = ReplyTopicsHarness(), redirected_count("size")
    harness.in_metadata.add("t")
    assert await harness.replies.rejects("t", error)
    assert redirected_count("size") - before == 1
    assert await harness.replies.accepts("t")
