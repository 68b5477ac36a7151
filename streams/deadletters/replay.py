"""Replay of dead letters: republishes them to their origin topics.

Each chunk is marked ``replaying``, published, and marked ``replayed``; each step is acknowledged
before the next. A replay killed between the marks leaves dead letters in doubt; the next replay
first resolves them by searching their origin topics. No dead letter is lost, and none duplicated
except by a producer retry after a broker failed in mid-response: then both copies are one request,
`Job.replayed`.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal, Protocol

from schemas.codec import encode
from schemas.deadletters import Mark
from streams.cluster.producer import Write
from streams.deadletters.dead_letter import DeadLetterRecord, refusal, replay_of
from streams.deadletters.filters import Filter
from streams.deadletters.store import DeadLetterStore
from streams.envelope import seal, trace_id_of
from streams.records import Incoming, Outgoing
from streams.topics import MARKS

CHUNK = 100
"""Maximum dead letters per chunk; lower rates use the number of one second."""


class Publisher(Protocol):
    async def publish(self, writes: Sequence[Write]) -> object:
        """Return when all records are acknowledged."""
        ...


@dataclass(slots=True)
class Totals:
    """Result of a replay.

    Attributes:
        replayed: number of dead letters published.
        settled: number that an interrupted replay had published already.
        skipped: counts of matching but not replayed dead letters, by reason.
        seen: ids of matching dead letters.
    """

    replayed: int = 0
    settled: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)


class ReplayRateLimiter:
    """Paces chunks to a rate of dead letters per second."""

    def __init__(
        self,
        per_second: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.chunk = max(1, min(CHUNK, int(per_second)))
        self._per_second = per_second
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0

    async def acquire(self, dead_letters: int) -> None:
        """Wait for the chunk's permit; its cost delays the next one."""
        now = self._clock()
        if self._next > now:
            await self._sleep(self._next - now)
        self._next = max(now, self._next) + dead_letters / self._per_second


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """Options of a replay.

    Attributes:
        criteria: selects dead letters.
        force: include parked and resolved ones.
        limit: maximum number, None for all.
        by: name of the operator, for the marks.
    """

    criteria: Filter
    force: bool = False
    limit: int | None = None
    by: str = ""

    def selects(self, dead_letter: DeadLetterRecord, totals: Totals) -> bool:
        """Return whether to replay a dead letter; count it as seen, and as skipped if refused."""
        if not self.criteria.matches(dead_letter):
            return False
        totals.seen.add(dead_letter.id)
        reason = refusal(dead_letter, replays_max=self.criteria.replays_max, force=self.force)
        if reason is not None:
            totals.skipped[reason] += 1
        return reason is None


class Replay:
    """One replay run; the caller holds the lock of `streams.deadletters.replay_lock`.

    Args:
        store: reads dead letters and origin topics.
        producer: publishes marks and records.
        topic_prefix: prefix of Kafka names.
        limiter: rate limit.
        confirm: raises when this process has lost the replay lock; called before each chunk.
        progress: called with the totals after each chunk.
    """

    def __init__(
        self,
        store: DeadLetterStore,
        producer: Publisher,
        *,
        topic_prefix: str,
        limiter: ReplayRateLimiter,
        confirm: Callable[[], Awaitable[None]],
        progress: Callable[[Totals], object] = lambda _: None,
    ) -> None:
        self._store = store
        self._producer = producer
        self._prefix = topic_prefix
        self._limiter = limiter
        self._confirm = confirm
        self._progress = progress

    async def run(self, plan: ReplayPlan) -> Totals:
        """Replay the selected dead letters, after resolving those of an interrupted replay."""
        totals = Totals(settled=await self._resolve_interrupted(plan.by))
        chunk: list[DeadLetterRecord] = []
        async for dead_letter in self._store.dead_letters():
            if plan.limit is not None and totals.replayed + len(chunk) >= plan.limit:
                break
            if plan.selects(dead_letter, totals):
                chunk.append(dead_letter)
            if len(chunk) == self._limiter.chunk:
                await self._replay_chunk(chunk, plan.by, totals)
                chunk = []
        await self._replay_chunk(chunk, plan.by, totals)
        return totals

    async def _resolve_interrupted(self, by: str) -> int:
        """Mark dead letters that an interrupted replay has published; return their number."""
        interrupted = [
            dead_letter
            async for dead_letter in self._store.dead_letters()
            if dead_letter.mark is not None and dead_letter.mark.state == "replaying"
        ]
        published = await self._store.find_published(interrupted)
        await self._mark([each for each in interrupted if each.id in published], "replayed", by)
        return len(published)

    async def _replay_chunk(
        self, dead_letters: Sequence[DeadLetterRecord], by: str, totals: Totals
    ) -> None:
        if not dead_letters:
            return
        await self._limiter.acquire(len(dead_letters))
        await self._confirm()
        await self._mark(dead_letters, "replaying", by)
        await self._publish(map(replay_of, dead_letters))
        await self._mark(dead_letters, "replayed", by)
        totals.replayed += len(dead_letters)
        self._progress(totals)

    async def _mark(
        self,
        dead_letters: Sequence[DeadLetterRecord],
        state: Literal["replaying", "replayed"],
        by: str,
    ) -> None:
        mark = Mark(state=state, by=by, at=datetime.now(UTC))
        await self._publish(mark_record(dead_letter, mark) for dead_letter in dead_letters)

    async def _publish(self, records: Iterable[Outgoing]) -> None:
        await self._producer.publish([to_write(record, self._prefix) for record in records])


def mark_record(dead_letter: DeadLetterRecord, mark: Mark) -> Outgoing:
    """Return the record of an operator action on a dead letter."""
    metadata = dead_letter.metadata
    origin = (metadata.origin_topic, metadata.origin_partition, metadata.origin_offset)
    record = Incoming(
        *origin, dead_letter.key, dead_letter.value, dead_letter.headers, metadata.origin_timestamp
    )
    return seal(
        MARKS,
        dead_letter.id,
        encode(mark),
        kind="letter.marked.v1",
        step="deadletters",
        event_id=f"{dead_letter.id}:{mark.state}:{mark.at.isoformat()}",
        request_id=metadata.request_id,
        trace_id=trace_id_of(record),
    )


def to_write(record: Outgoing, topic_prefix: str) -> Write:
    """Resolve the Kafka topic name of a record; the partition is chosen by its key."""
    name = record.topic.kafka_name(topic_prefix)
    return Write(name, record.key, record.value, record.headers)
