"""One replay at a time, over all machines: a seat in a consumer group that one member can have.

The group's only partition goes to the member that has had it for longest among the living. A
process that is killed loses it when its session ends. A process that was frozen for longer finds
its seat taken, at the latest before its next chunk.
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

from streams.cluster.connection import ClusterAwayError, client_options, explained
from streams.contract.role_acls import REPLAY_GROUP
from streams.settings import KafkaSettings
from streams.topics import MARKS

NEVER_MILLISECONDS = 1_000_000_000
"""The seat's consumer reads nothing; aiokafka would take that for the end of its life."""

GRACE_SECONDS = 15
"""Beyond a session: new groups wait some seconds for members, on brokers as they come."""


class ReplayRunningError(Exception):
    """Somebody else replays dead letters at this moment."""


class ReplayLock(ConsumerRebalanceListener):
    """The way in which the group gives away its partition, and whether this process has it."""

    name = "longest-held"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._settled = asyncio.Event()
        self._since = 0.0

    async def confirm(self) -> None:
        """Return when the seat is ours.

        Raises:
            ReplayRunningError: it is somebody else's.
            ClusterAwayError: the group does not settle.
        """
        try:
            async with asyncio.timeout(self._seconds):
                await self._settled.wait()
        except TimeoutError:
            raise ClusterAwayError("the cluster does not say whether a replay is running") from None
        if not self._since:
            raise ReplayRunningError(
                "another replay of dead letters is running; there can be one at a time "
                "(one that was killed counts until its session ends, some seconds later)"
            )

    # What aiokafka asks of a listener

    def on_partitions_revoked(self, revoked: Any) -> None:  # noqa: ARG002  (the library's)
        """Wait for the group."""
        self._settled.clear()

    def on_partitions_assigned(self, assigned: Any) -> None:
        """Take note of what the group decided."""
        self._since = (self._since or time.time()) if assigned else 0.0
        self._settled.set()

    # What aiokafka asks of an assignor

    def metadata(self, topics: Any) -> ConsumerProtocolMemberMetadata:
        """Tell the group since when this process has had the seat, "" if it has not."""
        since = f"{self._since:017.6f}".encode() if self._since else b""
        return ConsumerProtocolMemberMetadata(0, list(topics), since)

    def assign(
        self, cluster: Any, members: Mapping[str, Any]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Give the partition to who has it; to the one who took it last, if a frozen one is back.

        Without one it goes to any.
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
        """Nothing beyond what the listener hears."""


@asynccontextmanager
async def only_replay(kafka: KafkaSettings) -> AsyncIterator[ReplayLock]:
    """Hold the seat while the context lasts.

    Raises:
        ReplayRunningError: somebody else has it.
    """
    session = kafka.session_timeout_seconds
    seat = ReplayLock(session + GRACE_SECONDS)
    consumer = AIOKafkaConsumer(
        **client_options(kafka, "deadletters"),
        group_id=f"{kafka.topic_prefix}{REPLAY_GROUP}",
        partition_assignment_strategy=(seat,),
        enable_auto_commit=False,
        auto_offset_reset="latest",
        session_timeout_ms=int(session * 1000),
        heartbeat_interval_ms=int(session * 250),
        max_poll_interval_ms=NEVER_MILLISECONDS,
    )
    consumer.subscribe([MARKS.kafka_name(kafka.topic_prefix)], listener=seat)
    async with explained(kafka):
        try:
            # Starting waits for the group: for the session of one that was killed.
            await consumer.start()
            await seat.confirm()
            yield seat
        finally:
            await consumer.stop()
