"""Reads the state of the pipeline from the cluster, for its page and the API."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime

from streams.cluster.inspection import ClusterState, read_cluster
from streams.cluster.shared_state import SharedState
from streams.console.pipeline_view import PipelineView, pipeline_view
from streams.settings import KafkaSettings
from streams.stage import load_stages, topics_of

CACHE_SECONDS = 5.0
"""Age up to which a reading is served again: many viewers cause one in this time."""

Reader = Callable[
    [KafkaSettings, Collection[str], Mapping[str, Collection[str]]], Awaitable[ClusterState]
]


class Pipeline:
    """Reads the state of the cluster, at most every `CACHE_SECONDS`.

    Args:
        kafka: the cluster.
        shared_state: has the paused stages.
        read: reads the cluster.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        shared_state: SharedState,
        read: Reader = read_cluster,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kafka = kafka
        self._shared_state = shared_state
        self._read = read
        self._clock = clock
        self._reading = asyncio.Lock()
        self._view: PipelineView | None = None
        self._valid_until = 0.0

    async def view(self) -> PipelineView:
        """Return the present state.

        Raises:
            ClusterUnavailableError: the cluster does not answer.
        """
        async with self._reading:
            if self._view is None or self._clock() >= self._valid_until:
                self._view = await self._read_view()
                self._valid_until = self._clock() + CACHE_SECONDS
            return self._view

    async def _read_view(self) -> PipelineView:
        stages = await asyncio.to_thread(load_stages)
        kafka, prefix = self._kafka, self._kafka.topic_prefix
        groups = {
            f"{prefix}{stage.name}": {topic.kafka_name(prefix) for topic in stage.sources}
            for stage in stages
        }
        names = {topic.kafka_name(prefix) for topic in topics_of(stages, kafka.reply_topics)}
        cluster = await self._read(kafka, names, groups)
        return pipeline_view(stages, kafka, cluster, self._shared_state, datetime.now(UTC))
