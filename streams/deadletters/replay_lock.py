"""Cluster-wide mutex of replays: a consumer group of one partition with a sticky assignor.

The member that has the partition holds the lock; the assignor keeps it there while that member
lives. The lock of a killed process is released when its session times out. A process that was
frozen for longer than its session loses the lock, and detects that before its next chunk.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.coordinator.protocol import (
    ConsumerProtocolMemberAssignment,
    ConsumerProtocolMemberMetadata,
)

from streams.cluster.connection import ClusterUnavailableError, client_options, translate_errors
from streams.contract.role_acls import REPLAY_GROUP
from streams.settings import KafkaSettings
from streams.topics import MARKS

MAX_POLL_INTERVAL_MILLISECONDS = 1_000_000_000
"""Practically unlimited: the consumer never polls, and aiokafka would leave the group for that."""

GRACE_SECONDS = 15
"""Added to the session timeout: a new group waits some seconds for members, by broker default
(``group.initial.rebalance.delay.ms``)."""


class ReplayRunningError(Exception):
    """Another process holds the replay lock."""


class ReplayLock(ConsumerRebalanceListener):
    """Assignor and rebalance listener of the group; holds the lock while assigned."""

    name = "latest-acquired"

    def __init__(self, seconds: float) -> None:
        self._timeout_seconds = seconds
        self._assignment_known = asyncio.Event()
        self._acquired_at = 0.0

    async def confirm(self) -> None:
        """Wait for a running rebalance and verify that this process holds the lock.

        Raises:
            ReplayRunningError: another process holds it.
            ClusterUnavailableError: the rebalance does not complete in time.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await self._assignment_known.wait()
        except TimeoutError:
            raise ClusterUnavailableError(
                "the cluster does not say whether a replay is running"
            ) from None
        if not self._acquired_at:
            raise ReplayRunningError(
                "another replay of dead letters is running; there can be one at a time "
                "(one that was killed counts until its session ends, some seconds later)"
            )

    # Rebalance listener of aiokafka

    def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002  (the library's)
        self._assignment_known.clear()

    def on_partitions_assigned(self, assigned: Any) -> None:
        self._acquired_at = (self._acquired_at or time.time()) if assigned else 0.0
        self._assignment_known.set()

    # Partition assignor of aiokafka

    def metadata(self, topics: Any) -> ConsumerProtocolMemberMetadata:
        """Send the acquisition time of the lock as user data, empty while not held."""
        since = f"{self._acquired_at:017.6f}".encode() if self._acquired_at else b""
        return ConsumerProtocolMemberMetadata(0, list(topics), since)

    def assign(
        self, cluster: Any, members: Mapping[str, Any]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Assign the partition to its holder; to any member without one.

        When a frozen holder rejoins, two members claim it: the later acquisition wins.
        """
        _ = cluster
        holder = max(members, key=lambda name: (members[name].user_data or b"", name))
        return {
            name: ConsumerProtocolMemberAssignment(
                0, [(topic, [0]) for topic in member.subscription] if name == holder else [], b""
            )
            for name, member in members.items()
        }

    def on_assignment(self, assignment: Any) -> None:
        """Do nothing; the listener is notified as well."""


@asynccontextmanager
async def hold_replay_lock(kafka: KafkaSettings) -> AsyncIterator[ReplayLock]:
    """Hold the lock while the context lasts.

    Raises:
        ReplayRunningError: another process holds it.
    """
    session = kafka.session_timeout_seconds
    lock = ReplayLock(session + GRACE_SECONDS)
    consumer = AIOKafkaConsumer(
        **client_options(kafka, "deadletters"),
        group_id=f"{kafka.topic_prefix}{REPLAY_GROUP}",
        partition_assignment_strategy=(lock,),
        enable_auto_commit=False,
        auto_offset_reset="latest",
        session_timeout_ms=int(session * 1000),
        heartbeat_interval_ms=int(session * 250),
        max_poll_interval_ms=MAX_POLL_INTERVAL_MILLISECONDS,
    )
    consumer.subscribe([MARKS.kafka_name(kafka.topic_prefix)], listener=lock)
    async with translate_errors(kafka):
        try:
            # Joins the group: blocks for up to the session timeout of a killed member.
            await consumer.start()
            await lock.confirm()
            yield lock
        finally:
            await consumer.stop()
