"""Records that wait until they are due: thousands of them, without a task for each.

They stay in Kafka, uncommitted. What is here is the alarm clock and a packed copy; after a kill the
next owner reads them all again.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import heapify, heappop, heappush

from schemas.signals import CANCEL
from streams.claims import Claim, cancel_keys
from streams.cluster.shared_state import SharedState
from streams.observability.metrics import DELAY_LATENESS, OLDEST_PARKED, PARKED
from streams.priority_queue import URGENT
from streams.records import Incoming
from streams.runtime.back_pressure import BackPressureGate
from streams.runtime.offset_tracker import Partition
from streams.runtime.packed_record import PackedRecord
from streams.runtime.schedule import Schedule
from streams.topics import HEARTBEATS

LEAVING = 128
"""Records on their way out at a time: they fill the producer's batches, and a burst of thousands
holds up what shares the process for some 10 ms only."""

BYTES_PER_TOPIC = 48 * 2**20
"""Packed bytes of one topic that are held at a time; more wait in Kafka."""

NOW = float("-inf")
"""When a record is due that need not wait."""

REPORT_SECONDS = 5.0
"""Pause between looks at how many wait and for how long."""

Due = Callable[[Incoming, float], float | None]
"""Returns when a record is due, given the present epoch second; None when it need not wait."""

Go = Callable[[Incoming], "asyncio.Task[None]"]
"""Starts the work of a record."""


@dataclass(slots=True, eq=False)
class _Held:
    """A record and when it is due, monotonic; None for at once."""

    record: PackedRecord
    due: float | None
    claim: Claim
    is_due: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        return cancel_keys(self.claim.request)

    @property
    def place(self) -> Partition:
        return self.record.topic, self.record.partition


@dataclass(slots=True)
class _Space:
    taken: int = 0
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, size: int) -> None:
        self.taken += size
        if self.taken < BYTES_PER_TOPIC:
            self.free.set()
        else:
            self.free.clear()


class DelayQueue:
    """Holds the records of one stage.

    Args:
        topics: names of the topics that they come from.
        due: when a record is due.
        claim: what it needs then. What is due leaves when there is room, by rank, then by due time.
        gate: knows the room in front of the stages that it goes to.
        go: called when it leaves. A record whose request is taken back leaves at once.
        signals: tell which requests are taken back.
        clock: seconds, monotonic: records that are held do not notice that the wall clock is set.
        wall_clock: epoch seconds.
    """

    def __init__(
        self,
        topics: Sequence[str],
        *,
        due: Due,
        claim: Callable[[Incoming], Claim],
        gate: BackPressureGate,
        go: Go,
        signals: SharedState,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._due = due
        self._claim = claim
        self._gate = gate
        self._go = go
        self._signals = signals
        self._clock = clock
        self._wall_clock = wall_clock
        self._space = {topic: _Space() for topic in topics}
        for space in self._space.values():
            space.take(0)
        self._held: set[_Held] = set()
        self._by_key: defaultdict[str, set[_Held]] = defaultdict(set)
        self._alarms: list[tuple[float, int, _Held]] = []
        self._leaving: Schedule[_Held] = Schedule()
        self._count = 0
        self._earlier = asyncio.Event()
        self._slots = asyncio.Semaphore(LEAVING)

    def __len__(self) -> int:
        return len(self._held)

    async def space(self, topic: str) -> None:
        """Return when a further record of a topic may be held."""
        await self._space[topic].free.wait()

    def enter(self, record: Incoming) -> None:
        """Hold a record until it is due."""
        now = self._wall_clock()
        due = self._due(record, now)
        alarm = None if due is None else self._clock() + due - now
        held = _Held(PackedRecord.of(record), alarm, self._claim(record))
        self._held.add(held)
        for key in held.keys:
            self._by_key[key].add(held)
        self._space[record.topic].take(len(held.record.packed))
        if any(self._signals.get(key) is not None for key in held.keys):
            held.due = None
        self._set_alarm(held)

    def retain(self, partitions: Collection[Partition]) -> list[str]:
        """Forget the records of all other partitions; return the topic of each of them."""
        return self._drop_all([held for held in self._held if held.place not in partitions])

    def drop(self, partition: Partition) -> list[str]:
        """Forget the records of one partition; return the topic of each of them."""
        return self._drop_all([held for held in self._held if held.place == partition])

    def _drop_all(self, lost: list[_Held]) -> list[str]:
        for held in lost:
            self._forget(held)
        self._alarms = [alarm for alarm in self._alarms if alarm[2] in self._held]
        heapify(self._alarms)
        self._leaving.remove_where(lambda held: held not in self._held)
        return [held.record.topic for held in lost]

    def look(self) -> None:
        """Look again at what is due: there may be room for it now."""
        self._earlier.set()

    async def run(self) -> None:
        """Let everything go when it is due, for ever."""
        with self._signals.listen(CANCEL, self._take_back):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._let_go())
                group.create_task(self._report())

    async def _let_go(self) -> None:
        while True:
            await self._slots.acquire()
            held = await self._next()
            task = self._go(held.record.unpack())
            task.add_done_callback(partial(self._gone, held.record.topic, held.due))

    async def _report(self) -> None:
        while True:
            counts = Counter(held.record.topic for held in self._held)
            oldest: dict[str, float] = {}
            for held in self._held:
                topic, since = held.record.topic, held.record.timestamp
                oldest[topic] = min(oldest.get(topic, since), since)
            now = self._wall_clock()
            for topic in self._space.keys() - {HEARTBEATS.name}:
                PARKED.labels(topic).set(counts[topic])
                OLDEST_PARKED.labels(topic).set(max(0.0, now - oldest.get(topic, now)))
            await asyncio.sleep(REPORT_SECONDS)

    def _take_back(self, key: str, value: bytes | None) -> None:
        for held in self._by_key.get(key, ()) if value is not None else ():
            held.due = None
            self._set_alarm(held)
        if value is not None:
            self._leaving.hurry(key.removeprefix(CANCEL))

    def _set_alarm(self, held: _Held) -> None:
        self._count += 1
        alarm = (NOW if held.due is None else held.due, self._count, held)
        heappush(self._alarms, alarm)
        if self._alarms[0] is alarm:
            self._earlier.set()

    async def _next(self) -> _Held:
        """Return the next record that may leave, as soon as one may."""
        while (held := self._pop()) is None:
            self._earlier.clear()
            wait = self._alarms[0][0] - self._clock() if self._alarms else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._earlier.wait()
        return held

    def _pop(self) -> _Held | None:
        self._collect_due()
        next_one = self._leaving.pop(self._gate.admits)
        if next_one is None:
            return None
        self._gate.spend(next_one.claim)
        self._forget(next_one.item)
        return next_one.item

    def _collect_due(self) -> None:
        """Note what is due now, some at a time: thousands may be due at once."""
        for _ in range(LEAVING):
            if not self._alarms or self._alarms[0][0] > self._clock():
                return
            _, _, held = heappop(self._alarms)
            # One that was taken back has a second alarm.
            if held in self._held and not held.is_due:
                held.is_due = True
                urgent = Claim(URGENT, request=held.claim.request)
                self._leaving.push(held, held.claim if held.due is not None else urgent)

    def _forget(self, held: _Held) -> None:
        self._held.remove(held)
        self._space[held.record.topic].take(-len(held.record.packed))
        for key in held.keys:
            self._by_key[key].discard(held)
            if not self._by_key[key]:
                del self._by_key[key]

    def _gone(self, topic: str, due: float | None, task: "asyncio.Task[None]") -> None:
        self._slots.release()
        if due is not None and not task.cancelled():
            DELAY_LATENESS.labels(topic).observe(max(0.0, self._clock() - due))
