"""The state of the pipeline: topics, stages with their groups, workers with partitions.

The contract declares topics and stages; the cluster reports offsets, groups and members.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from schemas.codec import Moment
from schemas.signals import INTAKE, IntakeSignal
from streams.cluster.inspection import ClusterState, GroupMember, GroupState, read_cluster
from streams.cluster.shared_state import SharedState
from streams.contract.topology import Party, all_parties
from streams.runtime.group_offsets import progress_of
from streams.settings import KafkaSettings
from streams.stage import Stage, changelogs, topics_of
from streams.topics import HEARTBEATS, Topic

CACHE_SECONDS = 5.0
"""Age up to which a reading is served again: many viewers cause one in this time."""

Reader = Callable[
    [KafkaSettings, Collection[str], Mapping[str, Collection[str]]], Awaitable[ClusterState]
]

_STAGE_PART = re.compile(r"-[0-9a-f]{8}$")
"""Digest of a stage's topics behind the id of its worker, which is the same in all groups."""


class PartitionView(msgspec.Struct, frozen=True, kw_only=True):
    """A partition; the records that compaction has removed are between the offsets, too."""

    partition: int
    begin_offset: int
    end_offset: int


class TopicView(msgspec.Struct, frozen=True, kw_only=True):
    """A topic of the contract.

    Attributes:
        name: name on Kafka.
        key: record key, as a phrase.
        purpose: one sentence.
        retention_seconds: null for a topic that is compacted only.
        compacted: the newest record of each key is kept.
        partitions: empty when the topic does not exist, or may not be read.
        produced_by: stages and parties that may write it.
        consumed_by: stages and parties that read it.
    """

    name: str
    key: str
    purpose: str
    retention_seconds: float | None
    compacted: bool
    partitions: tuple[PartitionView, ...]
    produced_by: tuple[str, ...]
    consumed_by: tuple[str, ...]

    @property
    def records(self) -> int:
        """Number of offsets that are retained: the most records that it can have."""
        return sum(each.end_offset - each.begin_offset for each in self.partitions)


class TopicProgress(msgspec.Struct, frozen=True):
    """Finished and unfinished records of a stage in one of its source topics."""

    partitions: int
    finished: int
    lag: int


class LagView(msgspec.Struct, frozen=True, kw_only=True):
    """Unfinished records of a stage in one of its source topics."""

    topic: str
    lag: int


class StageGroup(msgspec.Struct, frozen=True, kw_only=True):
    """A stage and its consumer group.

    Attributes:
        name: name of the stage.
        purpose: predicate of a sentence.
        group: name of its consumer group.
        state: state of the group as the broker names it; empty when it may not be read.
        members: its workers.
        lag: its unfinished records, by source.
        paused: why its intake is paused; null when it is not.
        error: why the group could not be read.
    """

    name: str
    purpose: str
    group: str
    state: str
    members: tuple[GroupMember, ...]
    lag: tuple[LagView, ...]
    paused: str | None
    error: str | None


class PipelineView(msgspec.Struct, frozen=True, kw_only=True):
    """Topics and stages at one time."""

    read_at: Moment
    topics: tuple[TopicView, ...]
    stages: tuple[StageGroup, ...]

    def workers(self) -> list[tuple[str, str, dict[str, list[int]]]]:
        """Return name and host of every worker, with the partitions of its stages."""
        found: dict[tuple[str, str], dict[str, list[int]]] = {}
        for stage in self.stages:
            sources = {each.topic for each in stage.lag}
            for member in stage.members:
                numbers = {
                    number
                    for topic, assigned in member.partitions.items()
                    if topic in sources
                    for number in assigned
                }
                name = _STAGE_PART.sub("", member.name)
                found.setdefault((name, member.host), {})[stage.name] = sorted(numbers)
        return [(name, host, stages) for (name, host), stages in sorted(found.items())]


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


def pipeline_view(
    stages: Sequence[Stage],
    kafka: KafkaSettings,
    cluster: ClusterState,
    shared_state: SharedState,
    now: datetime,
) -> PipelineView:
    """Return the view of stages, in the order of their sources, and of all topics."""
    parties = all_parties(stages)
    by_name = {each.name: each for each in stages}
    ordered = [by_name[each.name] for each in parties if each.name in by_name]
    prefix = kafka.topic_prefix
    owners = {topic: (each.name,) for each in stages for topic in changelogs([each])}
    return PipelineView(
        read_at=now,
        topics=tuple(
            _topic_view(each, prefix, parties, cluster, owners.get(each, ()))
            for each in topics_of(stages, kafka.reply_topics)
        ),
        stages=tuple(_stage_group(each, prefix, cluster, shared_state) for each in ordered),
    )


def _topic_view(
    topic: Topic,
    prefix: str,
    parties: Sequence[Party],
    cluster: ClusterState,
    owner: tuple[str, ...],
) -> TopicView:
    name = topic.kafka_name(prefix)
    expires = not topic.compacted or topic.expires
    consumers = tuple(each.name for each in parties if topic in each.reads)
    producers = tuple(each.name for each in parties if topic in each.writes)
    return TopicView(
        name=name,
        key=topic.key,
        purpose=topic.purpose,
        retention_seconds=topic.retention.total_seconds() if expires else None,
        compacted=topic.compacted,
        partitions=tuple(
            PartitionView(
                partition=each.partition, begin_offset=cluster.beginnings[each], end_offset=end
            )
            for each, end in sorted(cluster.ends.items())
            if each.topic == name
        ),
        produced_by=owner or producers,
        consumed_by=owner or (("all stages",) if topic is HEARTBEATS else consumers),
    )


def _stage_group(
    stage: Stage, prefix: str, cluster: ClusterState, shared_state: SharedState
) -> StageGroup:
    name = f"{prefix}{stage.name}"
    group = cluster.groups.get(name, GroupState())
    intake = shared_state.read(f"{INTAKE}{stage.name}", IntakeSignal)
    sources = [topic.kafka_name(prefix) for topic in stage.sources]
    return StageGroup(
        name=stage.name,
        purpose=stage.purpose,
        group=name,
        state=group.state,
        members=group.members,
        lag=()
        if group.error
        else tuple(
            LagView(topic=each, lag=topic_progress(each, group, cluster).lag) for each in sources
        ),
        paused=intake.reason if intake is not None and intake.paused else None,
        error=group.error,
    )


def topic_progress(topic: str, group: GroupState, cluster: ClusterState) -> TopicProgress:
    """Return the progress of a group on a topic, given by its Kafka name."""
    ends = {
        each: end
        for each, end in cluster.ends.items()
        if each.topic == topic and each in group.committed
    }
    progress = progress_of(ends, cluster.beginnings, group.committed, {})
    return TopicProgress(len(ends), progress.finished, progress.end - progress.finished)
