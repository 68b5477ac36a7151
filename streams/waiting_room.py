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
from streams.acks import Partition
from streams.metrics import DELAY_LATENESS, OLDEST_PARKED, PARKED
from streams.packed_record import PackedRecord
from streams.records import Incoming
from streams.signals import Signals

LEAVING = 128
"""Records on their way out at a time: they fill the producer's batches, and a burst of thousands
holds up what shares the process for some 10 ms only."""

BYTES_PER_TOPIC = 48 * 2**20
"""Packed bytes of one topic that are held at a time; more wait in Kafka."""

LONGEST_SLEEP_SECONDS = 1.0
"""The clock of the wall may be set while the clock of the loop goes on."""

REPORT_SECONDS = 5.0
"""Pause between looks at how many wait and for how long."""

Due = Callable[[Incoming], float | None]
"""Returns when a record is due, epoch seconds; None when it need not wait."""

Go = Callable[[Incoming], "asyncio.Task[None]"]
"""Starts the work of a record."""


@dataclass(slots=True, eq=False)
class _Held:
    record: PackedRecord
    due: float | None
    keys: tuple[str, ...]

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


class WaitingRoom:
    """Holds the records of one stage.

    Args:
        topics: names of the topics that they come from.
        due: when a record is due.
        go: called when it is. A record whose request is taken back leaves at once.
        signals: tell which requests are taken back.
    """

    def __init__(
        self,
        topics: Sequence[str],
        *,
        due: Due,
        go: Go,
        signals: Signals,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._due = due
        self._go = go
        self._signals = signals
        self._clock = clock
        self._space = {topic: _Space() for topic in topics}
        for space in self._space.values():
            space.take(0)
        self._held: set[_Held] = set()
        self._by_key: defaultdict[str, set[_Held]] = defaultdict(set)
        self._alarms: list[tuple[float, int, _Held]] = []
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
        held = _Held(PackedRecord.of(record), self._due(record), _cancel_keys(record))
        self._held.add(held)
        for key in held.keys:
            self._by_key[key].add(held)
        self._space[record.topic].take(len(held.record.packed))
        if any(self._signals.get(key) is not None for key in held.keys):
            held.due = None
        self._set_alarm(held)

    def retain(self, partitions: Collection[Partition]) -> list[str]:
        """Forget the records of all other partitions; return the topic of each of them."""
        lost = [held for held in self._held if held.place not in partitions]
        for held in lost:
            self._forget(held)
        self._alarms = [alarm for alarm in self._alarms if alarm[2] in self._held]
        heapify(self._alarms)
        return [held.record.topic for held in lost]

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
            now = self._clock()
            for topic in self._space:
                PARKED.labels(topic).set(counts[topic])
                OLDEST_PARKED.labels(topic).set(now - oldest.get(topic, now))
            await asyncio.sleep(REPORT_SECONDS)

    def _take_back(self, key: str, value: bytes | None) -> None:
        for held in self._by_key.get(key, ()) if value is not None else ():
            held.due = None
            self._set_alarm(held)

    def _set_alarm(self, held: _Held) -> None:
        self._count += 1
        alarm = (held.due or 0.0, self._count, held)
        heappush(self._alarms, alarm)
        if self._alarms[0] is alarm:
            self._earlier.set()

    async def _next(self) -> _Held:
        """Return the next record that is due, as soon as one is."""
        while (held := self._pop_due()) is None:
            self._earlier.clear()
            wait = self._alarms[0][0] - self._clock() if self._alarms else LONGEST_SLEEP_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait, LONGEST_SLEEP_SECONDS)):
                    await self._earlier.wait()
        return held

    def _pop_due(self) -> _Held | None:
        while self._alarms and self._alarms[0][0] <= self._clock():
            _, _, held = heappop(self._alarms)
            # One that was taken back has a second alarm.
            if held in self._held:
                self._forget(held)
                return held
        return None

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


def _cancel_keys(record: Incoming) -> tuple[str, ...]:
    """Return the keys of the signals that take a record's request back: its own, its batch's."""
    request_id = record.header("ce_correlationid")
    if not request_id:
        return ()
    own = f"{CANCEL}{request_id}"
    # `<batch>/<index>`, with or without `/replay-<n>` behind it.
    batch, *parts = request_id.split("/")
    return (own, f"{CANCEL}{batch}") if parts and parts[0].isdecimal() else (own,)
