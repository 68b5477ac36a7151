"""The records of a stage between Faust and its work: within a window, each one once, none lost.

Records that cannot be started at once are held in a `Schedule`: without a task, uncommitted, so the
next owner reads them again. The next one is started when a slot is free and the later stages have
room for what it leads to.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import ExitStack
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any

from schemas.signals import CANCEL
from streams.claims import Claim, cancelled_with
from streams.cluster.record_batches import UndecodableBatch
from streams.cluster.shared_state import SharedState
from streams.faust_driver.app import to_incoming
from streams.faust_driver.consumer import OffsetReset
from streams.intake import Intake
from streams.observability.metrics import HELD
from streams.priority_queue import DEFAULT_RANK, URGENT
from streams.records import Effect, Incoming
from streams.runtime.back_pressure import BackPressureGate
from streams.runtime.concurrency import RESERVED, ConcurrencyLimit, Reservation
from streams.runtime.delay_queue import DelayQueue
from streams.runtime.offset_tracker import InOrderAcks, Partition, SkippedOffsetsError
from streams.runtime.schedule import Held, Schedule, hold
from streams.stage import Stage
from streams.topics import HEARTBEATS, Topic

log = logging.getLogger(__name__)

Run = Callable[[Incoming], Coroutine[Any, Any, None]]
"""Does all the work of one record; never raises, except when cancelled."""

HELD_BYTES_MAX = 64 * 2**20
"""Keys, values and headers that one stage holds. Requests take about 300 bytes, so 50,000 of them
take 15 MB, and 100 batches of 1,000 URLs 6 MB. More wait in Kafka."""

RECORD_BYTES = 200
"""What a record takes besides its content."""

HEARTBEAT_CLAIM = Claim(URGENT)
"""A heartbeat is next: it tells whether the stage takes records, not how many wait."""

MANY_EFFECTS = 3
"""So many effects are within what each record was expected to lead to."""


Name = tuple[Partition, int]
"""Partition and offset of a record."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """A started record that waits for the turn of its next slice."""

    turn: "asyncio.Future[Reservation]"


class Consumption:
    """The records that a stage has taken in and not finished.

    Attributes:
        failure: why no more are taken, None while all is well.
        room: where records wait until they are due, in stages that have such.
    """

    def __init__(
        self,
        stage: Stage,
        run: Run,
        *,
        app: Any,
        acks: InOrderAcks,
        intake: Intake,
        signals: SharedState,
        window: int,
        slots: ConcurrencyLimit,
        gate: BackPressureGate,
        started_max: int,
    ) -> None:
        self._stage = stage
        self._run = run
        self._app = app
        self._acks = acks
        self._intake = intake
        self._signals = signals
        self._slots = slots
        self._gate = gate
        self._started_max = started_max
        self._windows = {topic.name: asyncio.Semaphore(window) for topic in stage.reads}
        self._schedule: Schedule[Incoming | _Slice] = Schedule()
        HELD.labels(stage.name).set_function(self._schedule.__len__)
        self._held_bytes = 0
        self._has_space = asyncio.Event()
        self._has_space.set()
        self._tasks: dict[Name, asyncio.Task[None]] = {}
        self._orphans: set[asyncio.Task[None]] = set()
        self._started: dict[Name, Held[Incoming | _Slice]] = {}
        self._slicing = 0
        self._accepting = True
        self._listening = ExitStack()
        self.failure: BaseException | None = None
        self.room: DelayQueue | None = None
        self._alarm_clock: asyncio.Task[None] | None = None
        slots.on_free = intake.on_open = self.start_more
        if stage.due is not None:
            self.room = DelayQueue(
                tuple(self._windows),
                due=self._due,
                claim=self._claim,
                gate=gate,
                go=self._start,
                signals=signals,
            )

    def __len__(self) -> int:
        return len(self._tasks) + len(self._orphans)

    def start(self) -> None:
        """Follow cancellations, and release what is due, from now on."""
        self._listening.enter_context(self._signals.listen(CANCEL, self._on_cancel))
        if self.room is not None:
            self._alarm_clock = asyncio.create_task(self.room.run())
            self._alarm_clock.add_done_callback(self._note_failure)

    async def accept(self, topic: Topic, event: Any) -> None:
        """Take in an event of a topic; return when the next one may come."""
        await self._space(topic.name)
        message = event.message
        if self._is_new(topic, message) and self._accepting:
            record = to_incoming(topic, message)
            if self.room is None:
                self._hold(record)
            elif isinstance(record.value, UndecodableBatch):
                self._start(record)
            else:
                self.room.enter(record)
        else:
            self._windows[topic.name].release()

    def pass_over(self, topic: Topic, tp: Any, start: int, end: int) -> None:
        """Account for offsets at which the log has no record."""
        consumer = self._app.consumer
        self._acks.pass_over(
            (topic.name, tp.partition),
            start,
            end,
            partial(consumer.acknowledge, tp, end - 1),
            committed=consumer.start_of(tp),
        )

    def restart(self, topic: Topic, reset: OffsetReset) -> None:
        """Begin a partition whose log is another one now.

        Work on records of the old log goes on: they are nowhere else any more. It acknowledges
        nothing, as its offsets mean other records now.
        """
        partition = (topic.name, reset.tp.partition)
        self._acks.restart(partition)
        for name in [name for name in self._tasks if name[0] == partition]:
            self._orphans.add(self._tasks.pop(name))
        self._drop_held(lambda held: isinstance(held, Incoming) and _place(held) == partition)
        for held_topic in self.room.drop(partition) if self.room else ():
            self._windows[held_topic].release()

    def finished(self, record: Incoming) -> None:
        """Acknowledge a record when everything that it led to is written; called by its task."""
        name = _name(record)
        if self._tasks.get(name) is asyncio.current_task():
            self._acks.finish(*name)

    def keep(self, partitions: Collection[Partition]) -> None:
        """Stop the work of partitions that have another owner now."""
        self._acks.retain(partitions)
        for (partition, _), task in list(self._tasks.items()):
            if partition not in partitions:
                task.cancel()
        self._drop_held(partial(_is_lost, partitions))
        for topic in self.room.retain(partitions) if self.room else ():
            self._windows[topic].release()

    def _drop_held(self, is_dropped: Callable[[Incoming | _Slice], bool]) -> None:
        for held in self._schedule.remove_where(is_dropped):
            assert isinstance(held, Incoming)
            self._add_held_bytes(-_size(held))
            self._windows[held.topic].release()

    def fail(self, error: BaseException) -> None:
        """Take in nothing more; the stage is to be started again."""
        self._accepting = False
        self.failure = self.failure or error

    async def finish(self, grace: float) -> None:
        """Let running work end within a time, cancel the rest."""
        self._accepting = False
        self._listening.close()
        if self._alarm_clock is not None:
            await cancel(self._alarm_clock)
        try:
            if (running := [*self._tasks.values(), *self._orphans]) and grace:
                await asyncio.wait(running, timeout=grace)
        finally:
            await cancel(*self._tasks.values(), *self._orphans)

    async def _space(self, topic: str) -> None:
        await self._intake.opened()
        await self._windows[topic].acquire()
        if topic != HEARTBEATS.name:
            await self._has_space.wait()
        if self.room is not None:
            await self.room.space(topic)

    def _is_new(self, topic: Topic, message: Any) -> bool:
        """Return whether the event is of this generation and not in work already."""
        consumer = self._app.consumer
        if message.generation_id != self._app.consumer_generation_id:
            return False
        try:
            return self._acks.deliver(
                (topic.name, message.partition),
                message.offset,
                # Not the event's own: that would keep the whole record as long as its work takes.
                partial(consumer.acknowledge, message.tp, message.offset),
                committed=consumer.start_of(message.tp),
                timestamp=message.timestamp,
            )
        except SkippedOffsetsError as error:
            self.fail(error)
            return False

    # Which record is next

    def start_more(self) -> None:
        """Start held records as long as there are slots, and room in front of later stages."""
        while self._schedule and (slot := self._reserve()) is not None:
            held = self._schedule.pop(self._gate.admits)
            if held is None:
                slot.withdraw()
                break
            self._gate.spend(held.claim)
            if isinstance(held.item, _Slice):
                held.item.turn.set_result(slot)
            else:
                self._add_held_bytes(-_size(held.item))
                self._start(held.item, slot=slot, held=held)

    def use_room(self) -> None:
        """Start, or release, what waited for room in front of later stages."""
        self.start_more()
        if self.room is not None:
            self.room.look()

    async def next_turn(self, record: Incoming) -> None:
        """Return when the next slice of a started record may be made, with a slot for it.

        It waits among the records that are not started, in the place that its record had: others
        of a higher rank go first, and of several batches that wait the one that came first.
        """
        # The entry of an orphan may be that of a record of the new log, which has ended.
        started = self._started.get(_name(record)) or hold(record, self._claim(record), None)
        turn: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        entry = self._schedule.push(_Slice(turn), started.claim, arrival=started.arrival)
        self._slicing += 1
        self.start_more()
        try:
            RESERVED.set(await turn)
        except asyncio.CancelledError:
            self._schedule.remove(entry)
            if turn.done() and not turn.cancelled():
                turn.result().release()
            raise
        finally:
            self._slicing -= 1

    def charge(self, record: Incoming, effects: Sequence[Effect]) -> None:
        """Count what a record leads to against the room of later stages."""
        started = self._started.get(_name(record))
        if started is not None and started.claim.path and len(effects) > MANY_EFFECTS:
            self._gate.charge(effects, started.claim)

    def _hold(self, record: Incoming) -> None:
        """Start a record, or hold it until it can be started."""
        claim = self._claim(record)
        # A client's key may be that of a heartbeat.
        is_ordered = self._stage.ordered and record.topic != HEARTBEATS.name
        key = record.key if is_ordered else None
        if self._start_at_once(record, claim, key):
            return
        self._add_held_bytes(_size(record))
        self._schedule.push(record, claim, key)
        for name in cancelled_with(claim.request):
            if self._signals.get(f"{CANCEL}{name}") is not None:
                self._schedule.hurry(name)
        self.start_more()

    def _due(self, record: Incoming, now: float) -> float | None:
        if self._stage.due is None or record.topic == HEARTBEATS.name:
            return None
        return self._stage.due(record, now)

    def _claim(self, record: Incoming) -> Claim:
        if record.topic == HEARTBEATS.name:
            return HEARTBEAT_CLAIM
        try:
            return self._stage.claim(record)
        except Exception:
            # Faust would not notice an agent that ended: the stage would stand still.
            log.exception("%s: bug in the claim of %s", self._stage.name, record.position)
            return Claim(DEFAULT_RANK)

    def _start_at_once(self, record: Incoming, claim: Claim, key: bytes | None) -> bool:
        """Start a record without holding it, if nothing waits and there is all that it needs."""
        if self._schedule or not self._schedule.is_free(key) or not self._gate.admits(claim):
            return False
        slot = self._reserve()
        if slot is None:
            return False
        self._gate.spend(claim)
        self._schedule.occupy(key)
        self._start(record, slot=slot, held=hold(record, claim, key))
        return True

    def _reserve(self) -> Reservation | None:
        """Return a slot for a record, None when none may be started."""
        if not self._accepting or self._intake.paused:
            return None
        # Slices belong to started records: those must never wait for the end of each other.
        if len(self._tasks) - self._slicing >= self._started_max:
            return None
        return self._slots.reserve()

    def _on_cancel(self, key: str, value: bytes | None) -> None:
        if value is not None:
            self._schedule.hurry(key.removeprefix(CANCEL))
            self.start_more()

    def _add_held_bytes(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes < HELD_BYTES_MAX:
            self._has_space.set()
        else:
            self._has_space.clear()

    # What is started

    def _start(
        self,
        record: Incoming,
        *,
        slot: Reservation | None = None,
        held: Held[Incoming | _Slice] | None = None,
    ) -> asyncio.Task[None]:
        # Faust's own context keeps the event, and with it the record.
        context = Context()
        context.run(RESERVED.set, slot)
        task = asyncio.create_task(self._run(record), context=context)
        name = _name(record)
        self._tasks[name] = task
        if held is not None:
            self._started[name] = held
        task.add_done_callback(partial(self._forget, name, slot, held))
        return task

    def _forget(
        self,
        name: Name,
        slot: Reservation | None,
        held: Held[Incoming | _Slice] | None,
        task: asyncio.Task[None],
    ) -> None:
        (topic, _), _ = name
        self._windows[topic].release()
        # A partition that came back may have started the same record again meanwhile.
        if self._tasks.get(name) is task:
            del self._tasks[name]
            self._started.pop(name, None)
        self._orphans.discard(task)
        if held is not None:
            self._schedule.release(held.key)
        if slot is not None:
            # A task that was cancelled before it began has not taken over its slot.
            slot.release()
        self._note_failure(task)
        self.start_more()

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)


def _is_lost(partitions: Collection[Partition], held: Incoming | _Slice) -> bool:
    """Return whether a held record has another owner; the task of a slice is cancelled instead."""
    return isinstance(held, Incoming) and _place(held) not in partitions


def _place(record: Incoming) -> Partition:
    return record.topic, record.partition


def _name(record: Incoming) -> Name:
    return _place(record), record.offset


def _size(record: Incoming) -> int:
    """Return what a record takes, about."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return RECORD_BYTES + len(record.key or b"") + len(record.value or b"") + headers


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
