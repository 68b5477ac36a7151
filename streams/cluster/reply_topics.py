"""Clients' reply topics: which of them accept records, and the fallback for those that do not.

Reply topics belong to clients. One that was deleted, or denied to the worker, must not block the
results of other requests, so its records are redirected to their fallback, the results topic.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)

from streams.cluster.connection import ClusterUnavailableError
from streams.observability.metrics import REPLIES_REDIRECTED, start_at_zero

log = logging.getLogger(__name__)

RECHECK_SECONDS = 30.0
"""Time until a closed topic is checked again. A check is one metadata request."""

CLOSED = (TopicAuthorizationFailedError, InvalidTopicError)
"""Errors after which the topic accepts no record."""

TOO_LARGE = (MessageSizeTooLargeError, RecordTooLargeError)
"""Errors after which the topic rejects this record: its ``max.message.bytes`` is smaller."""


class ReplyTopics:
    """The state of the reply topics.

    Args:
        in_metadata: returns whether the producer's cached metadata has a topic; costs nothing.
        is_missing: requests from the cluster whether a topic does not exist.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        in_metadata: Callable[[str], bool],
        is_missing: Callable[[str], Awaitable[bool]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_metadata = in_metadata
        self._is_missing = is_missing
        self._clock = clock
        self._closed_until: dict[str, float] = {}
        self._check_lock = asyncio.Lock()
        start_at_zero(REPLIES_REDIRECTED, ("topic", "size"))

    async def accepts(self, topic: str) -> bool:
        """Return whether a record may be sent to a topic; counts a False."""
        if self._is_closed(topic) or not (self._in_metadata(topic) or await self._exists(topic)):
            REPLIES_REDIRECTED.labels("topic").inc()
            return False
        return True

    async def rejects(self, topic: str, error: KafkaError) -> bool:
        """Return whether the record must be redirected after this error; counts a True."""
        if isinstance(error, TOO_LARGE):
            log.warning("a result is too large for the reply topic %s: %s", topic, error)
            REPLIES_REDIRECTED.labels("size").inc()
            return True
        if isinstance(error, CLOSED):
            self._close(topic, repr(error))
        elif not self._is_closed(topic) and await self._exists(topic):
            return False
        REPLIES_REDIRECTED.labels("topic").inc()
        return True

    async def _exists(self, topic: str) -> bool:
        async with self._check_lock:
            if self._is_closed(topic):
                return False
            try:
                missing = await self._is_missing(topic)
            except ClusterUnavailableError:
                # The topic's state is unknown, and the record waits like all others.
                return True
            if missing:
                self._close(topic, "it does not exist")
            return not missing

    def _is_closed(self, topic: str) -> bool:
        return self._closed_until.get(topic, -1.0) > self._clock()

    def _close(self, topic: str, reason: str) -> None:
        if not self._is_closed(topic):
            log.error(
                "the reply topic %s cannot be written (%s); its results go to the results topic. "
                "Create it with `clipmill topics apply`, or remove it from kafka.reply_topics.",
                topic,
                reason,
            )
        self._closed_until[topic] = self._clock() + RECHECK_SECONDS
