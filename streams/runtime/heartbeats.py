"""Heartbeats: an end-to-end probe that detects a stalled stage of any process in half a minute.

The workers of the monitor publish a small record to each partition of the topic ``heartbeats``
every few seconds, each worker to the partitions that it has in its own group. Every stage consumes
the topic beside its sources: with the same consumer and group, the same queue and the same slots,
before all other records. Partition 0 of it belongs to the worker that has partition 0 of the
sources, so each worker of each stage gets its own. A stage answers by the commit, so there are no
reply records, and the topics that clients read are not touched.

Not covered: a slow stage (see its lag), and what a handler does with real records.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from aiokafka.structs import RecordMetadata

from schemas.codec import encode
from schemas.heartbeat import Heartbeat
from streams.cluster.producer import Write
from streams.envelope import seal
from streams.observability.health import Health
from streams.observability.metrics import HEARTBEAT_AGE, HEARTBEAT_SENT
from streams.records import Outgoing
from streams.runtime.record_tasks import cancel
from streams.settings import HeartbeatSettings
from streams.topics import HEARTBEATS, Topic

log = logging.getLogger(__name__)

KIND = "heartbeat.v1"

LOGGED_FAILURE = 3
"""Consecutive failure that is logged. A group has no coordinator in the first second of a cluster,
nor while a broker is replaced."""

COMPONENT = "heartbeats"
"""Health component of the heartbeats themselves; stages have their own."""

UNOBSERVED_SECONDS = 5.0
"""Allowed delay between two observations beyond the interval. Responses of the cluster take less: a
longer delay means that this process or the cluster was frozen, and earlier observations are
dropped."""

StagePartition = tuple[str, int]
"""Name of a stage, and partition of the heartbeats."""

Publish = Callable[[Sequence[Write]], Awaitable[Sequence[RecordMetadata]]]

Committed = Callable[[str, Topic], Awaitable[Mapping[int, int]]]
"""Returns a stage's committed offset of each partition of a topic, -1 for none."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A partition of a stage whose latest heartbeat is not answered.

    Attributes:
        committed: committed offset: the next heartbeat that the stage will answer.
        since: monotonic second since when no heartbeat is answered.
    """

    committed: int
    since: float


def unanswered(
    before: Mapping[StagePartition, Unanswered],
    sent: Mapping[int, int],
    committed: Mapping[str, Mapping[int, int]],
    *,
    since: float,
) -> dict[StagePartition, Unanswered]:
    """Return the partitions whose latest heartbeat is not answered.

    The wait of a stage restarts when it has committed earlier heartbeats since the previous
    observation.

    Args:
        before: result of the previous observation.
        sent: offset of the latest heartbeat of each partition.
        committed: committed offset of each partition, by stage.
        since: start of the wait of a new partition, or of one whose committed offset has moved.
    """
    waiting: dict[StagePartition, Unanswered] = {}
    for stage, offsets in committed.items():
        for partition, offset in sent.items():
            key, answered = (stage, partition), offsets[partition]
            if answered > offset:
                continue
            known = before.get(key)
            is_unmoved = known is not None and known.committed == answered
            waiting[key] = Unanswered(answered, known.since if known and is_unmoved else since)
    return waiting


def heartbeat(partition: int, at: datetime, step: str) -> Outgoing:
    """Return a heartbeat record for a partition."""
    return seal(
        HEARTBEATS,
        str(partition),
        encode(Heartbeat(at=at)),
        kind=KIND,
        step=step,
        event_id=f"{COMPONENT}/{partition}/{at.timestamp():.3f}",
        request_id=COMPONENT,
        trace_id=secrets.token_hex(16),
    )


class Heartbeats:
    """Publishes the heartbeats of some partitions, and observes the commits of all stages.

    Args:
        step: name of the stage beside which this runs.
        topic_prefix: prefix of the topic names.
        publish: writes records and returns their metadata.
        committed: fetches committed offsets.
        partitions: returns the partitions that this worker publishes to at the moment.
        stages: names of the stages that must answer, whether they run or not.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: HeartbeatSettings,
        *,
        step: str,
        topic_prefix: str,
        publish: Publish,
        committed: Committed,
        partitions: Callable[[], Collection[int]],
        stages: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = settings.interval_seconds
        self._gap_seconds_max = settings.interval_seconds + UNOBSERVED_SECONDS
        self._limit = settings.limit_seconds
        self._step = step
        self._topic = HEARTBEATS.kafka_name(topic_prefix)
        self._publish = publish
        self._committed = committed
        self._partitions = partitions
        self._stages = sorted(stages)
        self._clock = clock
        self._sent: dict[int, int] = {}
        self._sent_at = self._observed_at = clock()
        self._unanswered: dict[StagePartition, Unanswered] = {}
        self._error: Exception | None = None
        self._failures = 0

    @asynccontextmanager
    async def sending(self, health: Health) -> AsyncIterator[None]:
        """Publish and observe during the block; report to health and metrics."""
        for stage in self._stages:
            HEARTBEAT_AGE.labels(stage).set_function(partial(self.age, stage))
        health.set_pipeline_check(self.problems)
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            await cancel(task)
            health.set_pipeline_check(dict)
            for stage in self._stages:
                HEARTBEAT_AGE.remove(stage)

    async def _run(self) -> None:
        while True:
            try:
                await self.beat()
                self._failures, self._error = 0, None
            except Exception as error:  # noqa: BLE001  (an outage; retried)
                self._failures, self._error = self._failures + 1, error
                if self._failures == LOGGED_FAILURE:
                    log.warning("heartbeats cannot be sent or observed, retrying: %r", error)
            await asyncio.sleep(self._interval)

    async def beat(self) -> None:
        """Observe the answers to the latest heartbeats, then publish the next ones."""
        partitions = set(self._partitions())
        await self._observe(partitions)
        if partitions:
            await self._send(sorted(partitions))

    async def _observe(self, partitions: Collection[int]) -> None:
        now = self._clock()
        answers = await asyncio.gather(
            *(self._committed(stage, HEARTBEATS) for stage in self._stages)
        )
        before = self._unanswered if now - self._observed_at < self._gap_seconds_max else {}
        self._unanswered = unanswered(
            before,
            {number: offset for number, offset in self._sent.items() if number in partitions},
            dict(zip(self._stages, answers, strict=True)),
            since=max(self._sent_at, now - self._interval),
        )
        self._observed_at = now

    async def _send(self, partitions: Sequence[int]) -> None:
        at = datetime.now(UTC)
        published = await self._publish([self._write(number, at) for number in partitions])
        offsets = (each.offset for each in published)
        self._sent = dict(zip(partitions, offsets, strict=True))
        self._sent_at = self._clock()
        HEARTBEAT_SENT.set_to_current_time()

    def _write(self, partition: int, at: datetime) -> Write:
        record = heartbeat(partition, at, self._step)
        return Write(self._topic, record.key, record.value, record.headers, partition)

    def age(self, stage: str) -> float:
        """Return for how many seconds a partition of a stage has not answered, 0 if all do."""
        since = [each.since for (name, _), each in self._unanswered.items() if name == stage]
        return self._known_until() - min(since) if since else 0.0

    def problems(self) -> dict[str, str]:
        """Return a text for each stage beyond the limit, and for heartbeats not observed."""
        now, found = self._known_until(), dict[str, str]()
        for stage in self._stages:
            late = {
                number: now - each.since
                for (name, number), each in self._unanswered.items()
                if name == stage and now - each.since >= self._limit
            }
            if late:
                numbers = ", ".join(map(str, sorted(late)))
                seconds = max(late.values())
                found[stage] = (
                    f"has committed no heartbeat for {seconds:.0f} s, on partition {numbers}"
                )
        if (unknown := self._clock() - self._observed_at) >= self._limit + self._gap_seconds_max:
            reason = "" if self._error is None else f": {self._error!r}"
            found[COMPONENT] = f"not observed for {unknown:.0f} s{reason}"
        return found

    def _known_until(self) -> float:
        """Return the second until which ages grow: they stop while answers cannot be fetched."""
        return min(self._clock(), self._observed_at + self._gap_seconds_max)
