"""Lag of the stages, measured when a page or a call asks for it, and kept for some seconds."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from streams.cluster.authorization import MissingAclError, require_acls
from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.inspection import ClusterState
from streams.console.pipeline import Pipeline, topic_progress
from streams.contract.role_acls import lag_acls
from streams.settings import KafkaSettings
from streams.stage import Stage

log = logging.getLogger(__name__)

FRESH_SECONDS = 5.0
"""Time for which a measurement is used again; one takes 10 to 30 ms."""

RECENT_SECONDS = 15.0
"""Age up to which a measurement is returned while the next one is made: a page that is refreshed
every 5 s waits for none."""

PATIENCE_SECONDS = 1.0
"""Time for which a caller waits for a measurement that has no recent one before."""

TIMEOUT_SECONDS = 10.0
"""Timeout of a measurement, with the connections that the first one opens."""


class TopicLag(msgspec.Struct, frozen=True, kw_only=True):
    """Unfinished records of a stage in one topic.

    Attributes:
        topic: logical name.
        lag: their number.
    """

    topic: str
    partitions: int
    lag: int


class StageLag(msgspec.Struct, frozen=True, kw_only=True):
    """Unfinished records of a stage.

    Attributes:
        members: workers in its consumer group.
        finished: records that it has ever finished.
        stalled_seconds: time for which it is known to have finished none.
    """

    members: int
    topics: tuple[TopicLag, ...]
    finished: int
    stalled_seconds: float = 0.0

    @property
    def lag(self) -> int:
        return sum(each.lag for each in self.topics)


class LagReport(msgspec.Struct, frozen=True, kw_only=True):
    """The latest measurement.

    Attributes:
        stages: by name; empty before the first measurement.
        measured_at: its time.
        problem: why there is no newer one.
    """

    stages: Mapping[str, StageLag] = {}
    measured_at: datetime | None = None
    problem: str | None = None


MeasureLag = Callable[[], Awaitable[Mapping[str, StageLag]]]


class LagReader:
    """Shares one measurement among all callers.

    Attributes:
        measure: measures all stages.

    Args:
        clock: seconds, monotonic.
    """

    def __init__(self, measure: MeasureLag, clock: Callable[[], float] = time.monotonic) -> None:
        self.measure = measure
        self._clock = clock
        self._report = LagReport(problem="it is being measured")
        self._at = -FRESH_SECONDS
        self._task: asyncio.Task[None] | None = None
        self._changes: dict[str, tuple[int, float]] = {}

    async def read(self) -> LagReport:
        """Return the lag as of the last seconds; waits for Kafka only a moment."""
        age = self._clock() - self._at
        if self._task is None and age >= FRESH_SECONDS:
            self._task = asyncio.create_task(self._renew())
        is_recent = self._report.problem is None and age < RECENT_SECONDS
        if self._task is not None and not is_recent:
            await asyncio.wait([self._task], timeout=PATIENCE_SECONDS)
        return self._report

    async def aclose(self) -> None:
        """Cancel a measurement."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _renew(self) -> None:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                found = await self.measure()
        except TimeoutError:
            self._fail(f"Kafka did not answer within {TIMEOUT_SECONDS:.0f} s")
        except (ClusterUnavailableError, MissingAclError) as error:
            self._fail(str(error))
        except Exception:
            log.exception("the lag cannot be measured")
            self._fail("an internal error; the log of the console has it")
        else:
            stages = {name: self._with_stalled_seconds(name, each) for name, each in found.items()}
            self._report = LagReport(stages=stages, measured_at=datetime.now(UTC))
        finally:
            self._at, self._task = self._clock(), None

    def _fail(self, problem: str) -> None:
        # Drops the previous measurement: a constant lag would look like a stalled stage.
        self._report = LagReport(problem=problem)

    def _with_stalled_seconds(self, name: str, stage: StageLag) -> StageLag:
        now = self._clock()
        finished, since = self._changes.get(name, (-1, now))
        if finished != stage.finished or not stage.lag:
            since = now
        self._changes[name] = (stage.finished, since)
        return msgspec.structs.replace(stage, stalled_seconds=now - since)


async def measure_lag(
    kafka: KafkaSettings, stages: Sequence[Stage], pipeline: Pipeline
) -> dict[str, StageLag]:
    """Return the lag of each stage.

    Raises:
        MissingAclError: an ACL is missing.
        ClusterUnavailableError: no broker answers, or a topic or a group cannot be read.
    """
    cluster = await pipeline.cluster()
    prefix = kafka.topic_prefix
    for stage in stages:
        group = cluster.groups[f"{prefix}{stage.name}"]
        if group.error is not None:
            # Kafka names a group at a time; this error names all missing ACLs.
            await require_acls(kafka, lag_acls(stages, prefix))
            raise ClusterUnavailableError(
                f"the group {prefix}{stage.name} cannot be read: {group.error}"
            )
    return {each.name: _stage_lag(each, prefix, cluster) for each in stages}


def _stage_lag(stage: Stage, prefix: str, cluster: ClusterState) -> StageLag:
    group = cluster.groups[f"{prefix}{stage.name}"]
    progress = {
        topic.name: topic_progress(topic.kafka_name(prefix), group, cluster)
        for topic in stage.sources
    }
    return StageLag(
        members=len(group.members),
        topics=tuple(
            TopicLag(topic=name, partitions=found.partitions, lag=found.lag)
            for name, found in progress.items()
        ),
        finished=sum(each.finished for each in progress.values()),
    )
