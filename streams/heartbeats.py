"""Heartbeats: a stage that stands still, in whatever process, is seen within half a minute.

The workers of the monitor publish a small record to each partition of the topic ``heartbeats``
every few seconds, each worker to the partitions that it has in its own group. Every stage reads
the topic beside its sources: by the same consumer and group, the same queue and the same slots,
before all other records. Partition 0 of it belongs to the worker that has partition 0 of the
sources, so each worker of each stage gets its own. A stage answers by the commit: that costs no
record, and nothing of it is in the topics that clients read.

What is not seen here: that a stage is slow, which is what lag is for.
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
from streams.envelope import seal
from streams.flow import cancel
from streams.health import Health
from streams.metrics import HEARTBEAT_AGE, HEARTBEAT_SENT
from streams.outbox import Write
from streams.records import Outgoing
from streams.settings import HeartbeatSettings
from streams.topics import HEARTBEATS, Topic

log = logging.getLogger(__name__)

KIND = "heartbeat.v1"

LOGGED_TROUBLE = 3
"""Which failure in a row is logged. A group has no coordinator in the first second of a cluster,
nor while a broker is replaced."""

PART = "heartbeats"
"""Name in the health of the heartbeats themselves; stages have their own."""

UNSEEN_SECONDS = 5.0
"""How much longer than the interval the time between two looks may be and still count as silence.
Answers of the cluster take less; after that this process, or the cluster, stood still."""

Place = tuple[str, int]
"""A stage, and a partition of the heartbeats."""

Publish = Callable[[Sequence[Write]], Awaitable[Sequence[RecordMetadata]]]

Committed = Callable[[str, Topic], Awaitable[Mapping[int, int]]]
"""Returns what a stage has committed of each partition of a topic, -1 for nothing."""


@dataclass(frozen=True, slots=True)
class Silence:
    """A partition of a stage with a heartbeat that is not answered.

    Attributes:
        committed: offset of the next heartbeat that the stage will answer.
        since: monotonic second since when none is answered.
    """

    committed: int
    since: float


def silences(
    before: Mapping[Place, Silence],
    sent: Mapping[int, int],
    committed: Mapping[str, Mapping[int, int]],
    *,
    since: float,
) -> dict[Place, Silence]:
    """Return where the latest heartbeat is not answered.

    A stage that answers earlier ones meanwhile is not silent for longer than since the last look.

    Args:
        before: what the look before this one found.
        sent: offset of the latest heartbeat of each partition.
        committed: of each partition, by stage.
        since: when those became silent that were not before.
    """
    found: dict[Place, Silence] = {}
    for stage, offsets in committed.items():
        for partition, offset in sent.items():
            place, answered = (stage, partition), offsets[partition]
            if answered > offset:
                continue
            known = before.get(place)
            stands = known is not None and known.committed == answered
            found[place] = Silence(answered, known.since if known and stands else since)
    return found


def heartbeat(partition: int, at: datetime) -> Outgoing:
    """Return a heartbeat for a partition."""
    return seal(
        HEARTBEATS,
        str(partition),
        encode(Heartbeat(at=at)),
        kind=KIND,
        step=PART,
        event_id=f"{PART}/{partition}/{at.timestamp():.3f}",
        request_id=PART,
        trace_id=secrets.token_hex(16),
    )


class Heartbeats:
    """Sends the heartbeats of some partitions, and watches how all stages answer them.

    Args:
        topic_prefix: of the topics' names.
        publish: writes records and returns their places.
        committed: asks for the answers.
        partitions: returns the partitions that are this worker's at the moment.
        stages: names of the stages that must answer, whether they run or not.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        settings: HeartbeatSettings,
        *,
        topic_prefix: str,
        publish: Publish,
        committed: Committed,
        partitions: Callable[[], Collection[int]],
        stages: Collection[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._interval = settings.interval_seconds
        self._seen_seconds = settings.interval_seconds + UNSEEN_SECONDS
        self._limit = settings.limit_seconds
        self._topic = HEARTBEATS.kafka_name(topic_prefix)
        self._publish = publish
        self._committed = committed
        self._partitions = partitions
        self._stages = sorted(stages)
        self._clock = clock
        self._sent: dict[int, int] = {}
        self._sent_at = self._looked_at = clock()
        self._silences: dict[Place, Silence] = {}
        self._trouble: Exception | None = None
        self._troubles = 0

    @asynccontextmanager
    async def sending(self, health: Health) -> AsyncIterator[None]:
        """Send and watch as long as the context lasts; tell health and metrics."""
        for stage in self._stages:
            HEARTBEAT_AGE.labels(stage).set_function(partial(self.age, stage))
        health.watch_others(self.problems)
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            await cancel(task)
            health.watch_others(dict)
            for stage in self._stages:
                HEARTBEAT_AGE.remove(stage)

    async def _run(self) -> None:
        while True:
            try:
                await self.beat()
                self._troubles, self._trouble = 0, None
            except Exception as error:  # noqa: BLE001  (the cluster may be away; ask again later)
                self._troubles, self._trouble = self._troubles + 1, error
                if self._troubles == LOGGED_TROUBLE:
                    log.warning("heartbeats cannot be sent or watched, trying again: %r", error)
            await asyncio.sleep(self._interval)

    async def beat(self) -> None:
        """Look at the answers to the latest heartbeats, then send the next ones."""
        partitions = set(self._partitions())
        await self._look(partitions)
        if partitions:
            await self._send(sorted(partitions))

    async def _look(self, partitions: Collection[int]) -> None:
        now = self._clock()
        answers = await asyncio.gather(
            *(self._committed(stage, HEARTBEATS) for stage in self._stages)
        )
        before = self._silences if now - self._looked_at < self._seen_seconds else {}
        self._silences = silences(
            before,
            {number: offset for number, offset in self._sent.items() if number in partitions},
            dict(zip(self._stages, answers, strict=True)),
            since=max(self._sent_at, now - self._interval),
        )
        self._looked_at = now

    async def _send(self, partitions: Sequence[int]) -> None:
        at = datetime.now(UTC)
        places = await self._publish([self._write(number, at) for number in partitions])
        offsets = (place.offset for place in places)
        self._sent = dict(zip(partitions, offsets, strict=True))
        self._sent_at = self._clock()
        HEARTBEAT_SENT.set_to_current_time()

    def _write(self, partition: int, at: datetime) -> Write:
        record = heartbeat(partition, at)
        return Write(self._topic, record.key, record.value, record.headers, partition)

    def age(self, stage: str) -> float:
        """Return how long a stage has been silent on the partition where it is so for longest."""
        since = [each.since for (name, _), each in self._silences.items() if name == stage]
        return self._known_until() - min(since) if since else 0.0

    def problems(self) -> dict[str, str]:
        """Return which stages stand still, and on which partitions, for people."""
        now, found = self._known_until(), dict[str, str]()
        for stage in self._stages:
            silent = {
                number: now - each.since
                for (name, number), each in self._silences.items()
                if name == stage and now - each.since >= self._limit
            }
            if silent:
                numbers = ", ".join(map(str, sorted(silent)))
                seconds = max(silent.values())
                found[stage] = f"answers no heartbeat for {seconds:.0f} s, on partition {numbers}"
        if (unknown := self._clock() - self._looked_at) >= self._limit + self._seen_seconds:
            reason = "" if self._trouble is None else f": {self._trouble!r}"
            found[PART] = f"not watched for {unknown:.0f} s{reason}"
        return found

    def _known_until(self) -> float:
        """Return until when silence counts: not while nothing can be heard of any stage."""
        return min(self._clock(), self._looked_at + self._seen_seconds)
