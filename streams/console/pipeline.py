"""Reads the state of the pipeline from the cluster, for its page and the API."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from streams.cluster.inspection import ClusterState, read_cluster
from streams.cluster.shared_state import SharedState
from streams.console.pipeline_view import PipelineView, pipeline_view
from streams.settings import KafkaSettings
from streams.stage import Stage, topics_of

CACHE_SECONDS = 5.0
"""Age up to which a reading is served again: many viewers cause one in this time."""

Reader = Callable[
    [KafkaSettings, Collection[str], Mapping[str, Collection[str]]], Awaitable[ClusterState]
]


class Pipeline:
    """Reads the state of the cluster, at most every `CACHE_SECONDS`.

    Args:
        kafka: the cluster.
        stages: the installed ones.
        read: reads the cluster.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        stages: Sequence[Stage],
        read: Reader = read_cluster,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        # Discovering them reads the metadata of all installed packages: 4 ms, twice a reading.
        self._stages = stages
        self._read = read
        self._clock = clock
        self._reading = asyncio.Lock()
        self._cluster: ClusterState | None = None
        self._read_at = datetime.now(UTC)
        self._valid_until = 0.0

    async def cluster(self) -> ClusterState:
        """Return the state of all topics and of the groups of all stages.

        Raises:
            ClusterUnavailableError: the cluster does not answer.
        """
        async with self._reading:
            if self._cluster is None or self._clock() >= self._valid_until:
                self._cluster = await self._read_cluster()
                self._read_at = datetime.now(UTC)
                self._valid_until = self._clock() + CACHE_SECONDS
            return self._cluster

    async def view(self, shared_state: SharedState) -> PipelineView:
        """Return the view of the present state.

        Args:
            shared_state: has the paused stages.

        Raises:
            ClusterUnavailableError: the cluster does not answer.
        """
        cluster = await self.cluster()
        return pipeline_view(self._stages, self._kafka, cluster, shared_state, self._read_at)

    async def _read_cluster(self) -> ClusterState:
        kafka, prefix = self._kafka, self._kafka.topic_prefix
        groups = {
            f"{prefix}{stage.name}": {topic.kafka_name(prefix) for topic in stage.sources}
            for stage in self._stages
        }
        names = {topic.kafka_name(prefix) for topic in topics_of(self._stages, kafka.reply_topics)}
        return await self._read(kafka, names, groups)
