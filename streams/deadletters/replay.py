"""Putting dead letters back on the topics that they came from.

Each chunk is marked, published, and marked again, each step acknowledged before the next. A
replay that is killed between the marks leaves letters of which nobody knows whether they were
published; the next one looks for them on their topics before it does anything else. So none is
lost, and none doubled but by a broker that failed in the middle of an answer: then both copies
are one request, `Job.replayed`.
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
from streams.deadletters.dead_letter import Letter, refusal, replay_of
from streams.deadletters.filters import Filter
from streams.deadletters.store import LetterStore
from streams.envelope import seal, trace_id_of
from streams.records import Incoming, Outgoing
from streams.topics import MARKS

CHUNK = 100
"""Letters that are marked together, at most those of one second."""


class Publisher(Protocol):
    """What writes records."""

    async def publish(self, writes: Sequence[Write]) -> object:
        """Return when all are acknowledged."""
        ...


@dataclass(slots=True)
class Totals:
    """What a replay did.

    Attributes:
        replayed: letters put back.
        settled: letters that an interrupted replay had put back already.
        skipped: letters that were meant but not put back, by the reason.
        seen: ids of the letters that were meant.
    """

    replayed: int = 0
    settled: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    seen: set[str] = field(default_factory=set)


class Pace:
    """Keeps to so many letters per second."""

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

    async def turn(self, letters: int) -> None:
        """Wait until so many more may go."""
        now = self._clock()
        if self._next > now:
            await self._sleep(self._next - now)
        self._next = max(now, self._next) + letters / self._per_second


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be put back, and how.

    Attributes:
        wanted: which letters are meant.
        force: parked and resolved ones too.
        limit: at most so many, None for all.
        by: who does it.
    """

    wanted: Filter
    force: bool = False
    limit: int | None = None
    by: str = ""

    def takes(self, letter: Letter, totals: Totals) -> bool:
        """Return whether a letter is to be put back; count it if it was meant and is not."""
        if not self.wanted.matches(letter):
            return False
        totals.seen.add(letter.id)
        reason = refusal(letter, replays_max=self.wanted.replays_max, force=self.force)
        if reason is not None:
            totals.skipped[reason] += 1
        return reason is None


class Replay:
    """One run; see `streams.deadletters.replay_lock` for who may begin one.

    Args:
        confirm: raises when this process may not go on.
        progress: is told after each chunk.
    """

    def __init__(
        self,
        store: LetterStore,
        outbox: Publisher,
        *,
        topic_prefix: str,
        pace: Pace,
        confirm: Callable[[], Awaitable[None]],
        progress: Callable[[Totals], object] = lambda _: None,
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._prefix = topic_prefix
        self._pace = pace
        self._confirm = confirm
        self._progress = progress

    async def run(self, plan: Plan) -> Totals:
        """Put back what is meant; what was interrupted before is settled first."""
        totals = Totals(settled=await self._settle(plan.by))
        chunk: list[Letter] = []
        async for letter in self._store.letters():
            if plan.limit is not None and totals.replayed + len(chunk) >= plan.limit:
                break
            if plan.takes(letter, totals):
                chunk.append(letter)
            if len(chunk) == self._pace.chunk:
                await self._put_back(chunk, plan.by, totals)
                chunk = []
        await self._put_back(chunk, plan.by, totals)
        return totals

    async def _settle(self, by: str) -> int:
        """Mark those that an interrupted replay had put back; return how many."""
        interrupted = [
            letter
            async for letter in self._store.letters()
            if letter.mark is not None and letter.mark.state == "replaying"
        ]
        done = await self._store.published(interrupted)
        await self._mark([each for each in interrupted if each.id in done], "replayed", by)
        return len(done)

    async def _put_back(self, letters: Sequence[Letter], by: str, totals: Totals) -> None:
        if not letters:
            return
        await self._pace.turn(len(letters))
        await self._confirm()
        await self._mark(letters, "replaying", by)
        await self._publish(map(replay_of, letters))
        await self._mark(letters, "replayed", by)
        totals.replayed += len(letters)
        self._progress(totals)

    async def _mark(
        self, letters: Sequence[Letter], state: Literal["replaying", "replayed"], by: str
    ) -> None:
        mark = Mark(state=state, by=by, at=datetime.now(UTC))
        await self._publish(mark_record(letter, mark) for letter in letters)

    async def _publish(self, records: Iterable[Outgoing]) -> None:
        await self._outbox.publish([to_write(record, self._prefix) for record in records])


def mark_record(letter: Letter, mark: Mark) -> Outgoing:
    """Return the record of an act on a letter."""
    facts = letter.facts
    was = (facts.origin_topic, facts.origin_partition, facts.origin_offset)
    record = Incoming(*was, letter.key, letter.value, letter.headers, facts.origin_timestamp)
    return seal(
        MARKS,
        letter.id,
        encode(mark),
        kind="letter.marked.v1",
        step="deadletters",
        event_id=f"{letter.id}:{mark.state}:{mark.at.isoformat()}",
        request_id=facts.request_id,
        trace_id=trace_id_of(record),
    )


def to_write(record: Outgoing, topic_prefix: str) -> Write:
    """Return the record with its topic's name on Kafka; its key chooses the partition."""
    name = record.topic.kafka_name(topic_prefix)
    return Write(name, record.key, record.value, record.headers)
