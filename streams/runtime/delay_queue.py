"""The delay queue: holds thousands of records until they are due, without a task for each.

The records stay in Kafka, uncommitted; the queue has a timer and a packed copy of each. After a
kill the next owner of the partition reads them all again.
"""

import asyncio
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import heapify, heappop, heappush
from typing import Self

import msgspec

from schemas.signals import CANCEL
from streams.claims import Claim, cancel_keys
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import DELAY_LATENESS, OLDEST_PARKED, PARKED
from streams.priority_queue import URGENT
from streams.records import Incoming
from streams.runtime.back_pressure import BackPressureGate
from streams.runtime.offset_tracker import Partition
from streams.runtime.schedule import Schedule
from streams.topics import HEARTBEATS

RELEASES_MAX = 128
"""Released records in progress at a time: they fill the producer's batches, and a burst of
thousands blocks the event loop for some 10 ms only."""

BYTES_PER_TOPIC = 48 * 2**20
"""Packed bytes of one topic that are held at a time; further records wait in Kafka."""

IMMEDIATELY = float("-inf")
"""Due time of a record without a delay."""

REPORT_SECONDS = 5.0
"""Pause between updates of the metrics of waiting records."""

COMPRESSION_LEVEL = 1
"""zlib's fastest level: events shrink to a half or less in 0.03 ms, 16 KB in 0.15 ms."""

Parts = tuple[bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]
"""Key, value and headers. Header objects are two thirds of a record's memory."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parts).decode

Due = Callable[[Incoming, float], float | None]
"""Returns when a record is due, given the current epoch second; None without a delay."""

Start = Callable[[Incoming], "asyncio.Task[None]"]
"""Starts the work of a record."""


@dataclass(frozen=True, slots=True)
class PackedRecord:
    """An `Incoming` with key, value and headers compressed."""

    topic: str
    partition: int
    offset: int
    timestamp: float
    packed: bytes

    @classmethod
    def of(cls, record: Incoming) -> Self:
        parts = _encode((record.key, record.value, record.headers))
        packed = zlib.compress(parts, COMPRESSION_LEVEL)
        return cls(record.topic, record.partition, record.offset, record.timestamp, packed)

    def unpack(self) -> Incoming:
        key, value, headers = _decode(zlib.decompress(self.packed))
        return Incoming(
            self.topic,
            self.partition,
            self.offset,
            key,
            value,
            headers,
            self.timestamp,
        )


@dataclass(slots=True, eq=False)
class _Held:
    """A record and its due time, monotonic; None for immediately."""

    record: PackedRecord
    due: float | None
    claim: Claim
    is_due: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return cancel_keys(self.claim.request)

    @property
    def partition(self) -> Partition:
        return self.record.topic, self.record.partition


@dataclass(slots=True)
class _ByteBudget:
    """Packed bytes of one topic; ``free`` is set below the limit."""

    used: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, size: int) -> None:
        self.used += size
        if self.used < BYTES_PER_TOPIC:
            self.free.set()
        else:
            self.free.clear()


class DelayQueue:
    """The delay queue of one stage.

    Args:
        topics: names of the source topics.
        due: returns the due time of a record.
        claim: returns the rank and path of a record. Due records are released as their path has
            capacity, by rank, then by due time.
        gate: back-pressure of the later stages.
        start: called when a record is released. A record of a cancelled request is released at
            once.
        shared_state: reports cancelled requests.
        clock: seconds, monotonic: steps of the wall clock do not affect held records.
        wall_clock: epoch seconds.
    """

    def __init__(
        self,
        topics: Sequence[str],
        *,
        due: Due,
        claim: Callable[[Incoming], Claim],
        gate: BackPressureGate,
        start: Start,
        shared_state: SharedState,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._due = due
        self._claim = claim
        self._gate = gate
        self._start = start
        self._shared_state = shared_state
        self._clock = clock
        self._wall_clock = wall_clock
        self._budgets = {topic: _ByteBudget() for topic in topics}
        for space in self._budgets.values():
            space.add(0)
        self._held: set[_Held] = set()
        self._by_key: defaultdict[str, set[_Held]] = defaultdict(set)
        self._timers: list[tuple[float, int, _Held]] = []
        self._ready: Schedule[_Held] = Schedule()
        self._count = 0
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(RELEASES_MAX)

    def __len__(self) -> int:
        return len(self._held)

    async def wait_for_space(self, topic: str) -> None:
        """Back-pressure: return when a further record of a topic may be held."""
        await self._budgets[topic].free.wait()

    def put(self, record: Incoming) -> None:
        now = self._wall_clock()
        due = self._due(record, now)
        timer = None if due is None else self._clock() + due - now
        held = _Held(PackedRecord.of(record), timer, self._claim(record))
        self._held.add(held)
        for key in held.keys:
            self._by_key[key].add(held)
        self._budgets[record.topic].add(len(held.record.packed))
        if any(self._shared_state.get(key) is not None for key in held.keys):
            held.due = None
        self._set_timer(held)

    def retain(self, partitions: Collection[Partition]) -> list[str]:
        """Drop the records of all other partitions; return the topic of each."""
        return self._drop_all([held for held in self._held if held.partition not in partitions])

    def drop(self, partition: Partition) -> list[str]:
        """Drop the records of one partition; return the topic of each."""
        return self._drop_all([held for held in self._held if held.partition == partition])

    def _drop_all(self, lost: list[_Held]) -> list[str]:
        for held in lost:
            self._remove(held)
        self._timers = [timer for timer in self._timers if timer[2] in self._held]
        heapify(self._timers)
        self._ready.remove_where(lambda held: held not in self._held)
        return [held.record.topic for held in lost]

    def wake(self) -> None:
        """Check for due records again, after a change of capacity."""
        self._wake.set()

    async def run(self) -> None:
        """Release records when they are due, until cancelled."""
        with self._shared_state.listen(CANCEL, self._on_cancel):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._release_due())
                group.create_task(self._report())

    async def _release_due(self) -> None:
        while True:
            await self._slots.acquire()
            held = await self._next()
            task = self._start(held.record.unpack())
            task.add_done_callback(partial(self._on_done, held.record.topic, held.due))

    async def _report(self) -> None:
        while True:
            counts = Counter(held.record.topic for held in self._held)
            oldest: dict[str, float] = {}
            for held in self._held:
                topic, since = held.record.topic, held.record.timestamp
                oldest[topic] = min(oldest.get(topic, since), since)
            now = self._wall_clock()
            for topic in self._budgets.keys() - {HEARTBEATS.name}:
                PARKED.labels(topic).set(counts[topic])
                OLDEST_PARKED.labels(topic).set(max(0.0, now - oldest.get(topic, now)))
            await asyncio.sleep(REPORT_SECONDS)

    def _on_cancel(self, key: str, value: bytes | None) -> None:
        for held in self._by_key.get(key, ()) if value is not None else ():
            held.due = None
            self._set_timer(held)
        if value is not None:
            self._ready.expedite(key.removeprefix(CANCEL))

    def _set_timer(self, held: _Held) -> None:
        self._count += 1
        timer = (IMMEDIATELY if held.due is None else held.due, self._count, held)
        heappush(self._timers, timer)
        if self._timers[0] is timer:
            self._wake.set()

    async def _next(self) -> _Held:
        """Wait for the next record that may be released."""
        while (held := self._pop()) is None:
            self._wake.clear()
            wait = self._timers[0][0] - self._clock() if self._timers else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
        return held

    def _pop(self) -> _Held | None:
        self._collect_due()
        next_one = self._ready.pop(self._gate.admits)
        if next_one is None:
            return None
        self._gate.spend(next_one.claim)
        self._remove(next_one.item)
        return next_one.item

    def _collect_due(self) -> None:
        """Queue due records by rank, some at a time: thousands may be due at once."""
        for _ in range(RELEASES_MAX):
            if not self._timers or self._timers[0][0] > self._clock():
                return
            _, _, held = heappop(self._timers)
            # A cancelled record has a second timer.
            if held in self._held and not held.is_due:
                held.is_due = True
                urgent = Claim(URGENT, request=held.claim.request)
                self._ready.push(held, held.claim if held.due is not None else urgent)

    def _remove(self, held: _Held) -> None:
        self._held.remove(held)
        self._budgets[held.record.topic].add(-len(held.record.packed))
        for key in held.keys:
            self._by_key[key].discard(held)
            if not self._by_key[key]:
                del self._by_key[key]

    def _on_done(self, topic: str, due: float | None, task: "asyncio.Task[None]") -> None:
        self._slots.release()
        if due is not None and not task.cancelled():
            DELAY_LATENESS.labels(topic).observe(max(0.0, self._clock() - due))
