"""Consumption of a stage's records: from Faust's stream to one task per record.

Each record is delivered once within its generation and in flight within a window; uncommitted
records are read again by the next owner of the partition, so none is lost. A record that cannot
start at once is held in a `Schedule`, without a task and uncommitted. `dispatch` starts the next
one when a slot is free and the later stages have capacity for its effects. Offsets are
acknowledged through `streams.runtime.offset_tracker`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from schemas.signals import CANCEL
from streams.claims import Claim, cancellable_ids
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
from streams.runtime.offset_tracker import OffsetTracker, Partition, SkippedOffsetsError
from streams.runtime.processor import Processed
from streams.runtime.schedule import Held, Schedule, hold
from streams.runtime.write_batches import WriteBatches
from streams.stage import Stage
from streams.topics import HEARTBEATS, Topic

log = logging.getLogger(__name__)


class Processor(Protocol):
    """Processes records; no method raises, except when cancelled."""

    async def run(self, record: Incoming) -> None:
        """Process one record."""

    def run_sync(self, record: Incoming) -> Processed | None:
        """Process a record without waiting; None when it needs `run`."""

    async def write_batch(self, batch: Sequence[Processed]) -> None:
        """Write the effects of records that were processed without waiting."""


SYNC_RECORDS = 64
"""Records that one dispatch processes without waiting; then the event loop does other work."""

HELD_BYTES_MAX = 64 * 2**20
"""Bytes of keys, values and headers that one stage holds; further records wait in Kafka. Requests
take about 300 bytes, so 50,000 of them take 15 MB, and 100 batches of 1,000 URLs 6 MB."""

RECORD_BYTES = 200
"""Approximate overhead of a record in memory, besides its content."""

HEARTBEAT_CLAIM = Claim(URGENT)
"""Heartbeats are dispatched first: they check that the stage takes records, not how many wait."""

MANY_EFFECTS = 3
"""Effects that the expected cost of any record covers; only larger results are charged."""


RecordId = tuple[Partition, int]
"""Partition and offset of a record."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """A started record that waits for a slot for its next slice."""

    slot: "asyncio.Future[Reservation]"


_Scheduled = tuple[Processed, Held[Incoming | _Slice]]
"""A synchronously processed record, with its entry in the schedule."""


class Consumption:
    """The records that a stage has consumed and not finished.

    Attributes:
        processor: processes the records; set before the first one.
        failure: why the stage must be restarted, None while it consumes.
        delay_queue: holds records until they are due, in stages with a due time.
    """

    processor: Processor

    def __init__(
        self,
        stage: Stage,
        *,
        app: Any,
        acks: OffsetTracker,
        intake: Intake,
        shared_state: SharedState,
        window: int,
        slots: ConcurrencyLimit,
        gate: BackPressureGate,
        started_max: int,
    ) -> None:
        self._stage = stage
        self._app = app
        self._acks = acks
        self._intake = intake
        self._shared_state = shared_state
        self._slots = slots
        self._gate = gate
        self._started_max = started_max
        self._windows = {topic.name: asyncio.Semaphore(window) for topic in stage.reads}
        self._schedule: Schedule[Incoming | _Slice] = Schedule()
        HELD.labels(stage.name).set_function(self._schedule.__len__)
        self._held_bytes = 0
        self._has_space = asyncio.Event()
        self._has_space.set()
        self._tasks: dict[RecordId, asyncio.Task[None]] = {}
        self._orphans: set[asyncio.Task[None]] = set()
        self._started: dict[RecordId, Held[Incoming | _Slice]] = {}
        self._batches = WriteBatches(self._write, self._on_batch_done)
        self._redispatch: asyncio.Handle | None = None
        self._slicing = 0
        self._accepting = True
        self._subscriptions = ExitStack()
        self.failure: BaseException | None = None
        self.delay_queue: DelayQueue | None = None
        self._delay_task: asyncio.Task[None] | None = None
        slots.on_free = intake.on_open = self.dispatch
        if stage.due is not None:
            self.delay_queue = DelayQueue(
                tuple(self._windows),
                due=self._due,
                claim=self._claim,
                gate=gate,
                start=self._start,
                shared_state=shared_state,
            )

    def __len__(self) -> int:
        return len(self._tasks) + len(self._orphans)

    def start(self) -> None:
        """Listen for cancellations, and start the delay queue."""
        self._subscriptions.enter_context(self._shared_state.listen(CANCEL, self._on_cancel))
        if self.delay_queue is not None:
            self._delay_task = asyncio.create_task(self.delay_queue.run())
            self._delay_task.add_done_callback(self._record_failure)

    async def accept(self, topic: Topic, tp: Any, polled: Any, generation: int) -> None:
        """Take in a polled record of a topic; return when the next one may be delivered."""
        await self._wait_for_space(topic.name)
        if self._register(topic, tp, polled, generation) and self._accepting:
            record = to_incoming(topic, polled)
            if self.delay_queue is None:
                self._hold(record)
            elif isinstance(record.value, UndecodableBatch):
                self._start(record)
            else:
                self.delay_queue.put(record)
        else:
            self._windows[topic.name].release()

    def skip_gap(self, topic: Topic, tp: Any, start: int, end: int) -> None:
        """Account for offsets at which the log has no record."""
        consumer = self._app.consumer
        self._acks.skip_gap(
            (topic.name, tp.partition),
            start,
            end,
            partial(consumer.acknowledge, tp, end - 1),
            committed=consumer.start_offset(tp),
        )

    def reset_partition(self, topic: Topic, reset: OffsetReset) -> None:
        """Reset the state of a partition whose log was truncated or created again.

        Tasks of the old log's records go on, as these records exist nowhere else any more. They
        become orphans: they acknowledge nothing, because their offsets now belong to other records.
        """
        partition = (topic.name, reset.tp.partition)
        self._acks.reset(partition)
        self._batches.close(partition)
        for record_id in [each for each in self._tasks if each[0] == partition]:
            self._orphans.add(self._tasks.pop(record_id))
        self._drop_held(
            lambda held: isinstance(held, Incoming) and _partition_of(held) == partition
        )
        for held_topic in self.delay_queue.drop(partition) if self.delay_queue else ():
            self._windows[held_topic].release()

    def acknowledge(self, record: Incoming) -> None:
        """Acknowledge a record whose effects are all written; called by its own task."""
        record_id = _record_id(record)
        if self._tasks.get(record_id) is asyncio.current_task():
            self._acks.finish(*record_id)

    def retain(self, partitions: Collection[Partition]) -> None:
        """Cancel the work of all other partitions: they were revoked."""
        self._acks.retain(partitions)
        self._batches.close_all()
        for (partition, _), task in list(self._tasks.items()):
            if partition not in partitions:
                task.cancel()
        self._drop_held(partial(_is_revoked, partitions))
        for topic in self.delay_queue.retain(partitions) if self.delay_queue else ():
            self._windows[topic].release()

    def _drop_held(self, is_dropped: Callable[[Incoming | _Slice], bool]) -> None:
        for held in self._schedule.remove_where(is_dropped):
            assert isinstance(held, Incoming)
            self._add_held_bytes(-_size(held))
            self._windows[held.topic].release()

    def fail(self, error: BaseException) -> None:
        """Stop consuming and report why the stage must be restarted; the first error is kept."""
        self._accepting = False
        self.failure = self.failure or error

    async def drain(self, grace: float) -> None:
        """Stop consuming, wait for tasks in flight up to a grace period, and cancel the rest."""
        self._accepting = False
        self._subscriptions.close()
        if self._delay_task is not None:
            await cancel(self._delay_task)
        try:
            if (running := [*self._tasks.values(), *self._orphans]) and grace:
                await asyncio.wait(running, timeout=grace)
        finally:
            await cancel(*self._tasks.values(), *self._orphans)

    async def _wait_for_space(self, topic: str) -> None:
        await self._intake.wait_until_open()
        await self._windows[topic].acquire()
        if topic != HEARTBEATS.name:
            await self._has_space.wait()
        if self.delay_queue is not None:
            await self.delay_queue.wait_for_space(topic)

    def _register(self, topic: Topic, tp: Any, polled: Any, generation: int) -> bool:
        """Register a record with the offset tracker; return whether it is to be processed.

        It is not when it is of an earlier generation, in flight already, or finished.
        """
        consumer = self._app.consumer
        if generation != self._app.consumer_generation_id:
            return False
        try:
            return self._acks.deliver(
                (topic.name, polled.partition),
                polled.offset,
                partial(consumer.acknowledge, tp, polled.offset),
                committed=consumer.start_offset(tp),
                timestamp=(polled.timestamp or 0) / 1000,
            )
        except SkippedOffsetsError as error:
            self.fail(error)
            return False

    # Scheduling

    def dispatch(self) -> None:
        """Start held records while there are slots, and capacity in the later stages."""
        if self._redispatch is not None:
            return
        for _ in range(SYNC_RECORDS):
            if not self._schedule or (slot := self._reserve()) is None:
                return
            held = self._schedule.pop(self._gate.admits)
            if held is None:
                slot.withdraw()
                return
            if isinstance(held.item, _Slice) and held.item.slot.done():
                slot.withdraw()  # its task was cancelled, and has not run since
                continue
            self._gate.spend(held.claim)
            if isinstance(held.item, _Slice):
                held.item.slot.set_result(slot)
            else:
                self._add_held_bytes(-_size(held.item))
                self._start_scheduled(held.item, slot, held)
        self._redispatch = asyncio.get_running_loop().call_soon(self._dispatch_again)

    def _dispatch_again(self) -> None:
        self._redispatch = None
        self.dispatch()

    def on_capacity(self) -> None:
        """Start, or release, records that waited for capacity of later stages."""
        self.dispatch()
        if self.delay_queue is not None:
            self.delay_queue.wake()

    async def next_slice(self, record: Incoming) -> None:
        """Return when the next slice of a started record may be made, with a slot reserved for it.

        Slices are scheduled among the held records with the rank and arrival of their record:
        higher ranks go first, and among waiting batches the one that arrived first.
        """
        # An orphan's entry is gone, or replaced by that of a record of the new log.
        started = self._started.get(_record_id(record)) or hold(record, self._claim(record), None)
        slot: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        entry = self._schedule.push(_Slice(slot), started.claim, arrival=started.arrival)
        self._slicing += 1
        self.dispatch()
        try:
            RESERVED.set(await slot)
        except asyncio.CancelledError:
            self._schedule.remove(entry)
            if slot.done() and not slot.cancelled():
                slot.result().release()
            raise
        finally:
            self._slicing -= 1

    def charge(self, record: Incoming, effects: Sequence[Effect]) -> None:
        """Charge the later stages' capacity for effects beyond a record's expected cost."""
        started = self._started.get(_record_id(record))
        if started is not None:
            self._charge(started.claim, effects)

    def _charge(self, claim: Claim, effects: Sequence[Effect]) -> None:
        if claim.path and len(effects) > MANY_EFFECTS:
            self._gate.charge(effects, claim)

    def _hold(self, record: Incoming) -> None:
        """Start a record, or hold it until it can be started."""
        claim = self._claim(record)
        # A client's key may equal that of a heartbeat, which must not wait behind it.
        is_ordered = self._stage.ordered and record.topic != HEARTBEATS.name
        key = record.key if is_ordered else None
        if self._start_at_once(record, claim, key):
            return
        self._add_held_bytes(_size(record))
        self._schedule.push(record, claim, key)
        for name in cancellable_ids(claim.request):
            if self._shared_state.get(f"{CANCEL}{name}") is not None:
                self._schedule.expedite(name)
        self.dispatch()

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
            # Faust does not notice an agent that ended: the stage would stall.
            log.exception("%s: bug in the claim of %s", self._stage.name, record.position)
            return Claim(DEFAULT_RANK)

    def _start_at_once(self, record: Incoming, claim: Claim, key: bytes | None) -> bool:
        """Start a record if nothing is held and it has a slot, capacity and a free key."""
        if self._schedule or not self._schedule.is_free(key) or not self._gate.admits(claim):
            return False
        slot = self._reserve()
        if slot is None:
            return False
        self._gate.spend(claim)
        self._schedule.mark_busy(key)
        self._start_scheduled(record, slot, hold(record, claim, key))
        return True

    def _reserve(self) -> Reservation | None:
        """Reserve a slot for a record; None when no record may be started."""
        if not self._accepting or self._intake.paused:
            return None
        # Slices belong to started records: counting them would make these wait for each other.
        if len(self._tasks) - self._slicing >= self._started_max:
            return None
        return self._slots.reserve()

    def _on_cancel(self, key: str, value: bytes | None) -> None:
        if value is not None:
            self._schedule.expedite(key.removeprefix(CANCEL))
            self.dispatch()

    def _add_held_bytes(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes < HELD_BYTES_MAX:
            self._has_space.set()
        else:
            self._has_space.clear()

    # Synchronous processing

    def _start_scheduled(
        self, record: Incoming, slot: Reservation, held: Held[Incoming | _Slice]
    ) -> None:
        """Process a record synchronously if that is possible, else in a task of its own."""
        processed = self.processor.run_sync(record)
        if processed is None:
            self._start(record, slot=slot, held=held)
            return
        slot.withdraw()
        self._charge(held.claim, processed.effects)
        task = self._batches.add(_partition_of(record), (processed, held))
        self._tasks[_record_id(record)] = task

    async def _write(self, batch: Sequence[_Scheduled]) -> None:
        await self.processor.write_batch([processed for processed, _ in batch])

    def _on_batch_done(self, batch: Sequence[_Scheduled], task: asyncio.Task[None]) -> None:
        for processed, held in batch:
            self._forget(_record_id(processed.record), held, task)
        self._on_task_done(task)

    # Tasks

    def _start(
        self,
        record: Incoming,
        *,
        slot: Reservation | None = None,
        held: Held[Incoming | _Slice] | None = None,
    ) -> asyncio.Task[None]:
        # A fresh context: Faust's own keeps the event, and with it the record.
        context = Context()
        context.run(RESERVED.set, slot)
        task = asyncio.create_task(self.processor.run(record), context=context)
        record_id = _record_id(record)
        self._tasks[record_id] = task
        if held is not None:
            self._started[record_id] = held
        task.add_done_callback(partial(self._on_record_done, record_id, slot, held))
        return task

    def _on_record_done(
        self,
        record_id: RecordId,
        slot: Reservation | None,
        held: Held[Incoming | _Slice] | None,
        task: asyncio.Task[None],
    ) -> None:
        self._forget(record_id, held, task)
        if slot is not None:
            # A task that was cancelled before it began has not claimed its slot.
            slot.release()
        self._on_task_done(task)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._orphans.discard(task)
        self._record_failure(task)
        self.dispatch()

    def _forget(
        self,
        record_id: RecordId,
        held: Held[Incoming | _Slice] | None,
        task: asyncio.Task[None],
    ) -> None:
        (topic, _), _ = record_id
        self._windows[topic].release()
        # A reassigned partition may have started the same record again meanwhile.
        if self._tasks.get(record_id) is task:
            del self._tasks[record_id]
            self._started.pop(record_id, None)
        if held is not None:
            self._schedule.release(held.key)

    def _record_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)


def _is_revoked(partitions: Collection[Partition], held: Incoming | _Slice) -> bool:
    """Return whether a held record was revoked; a slice is not: its task is cancelled instead."""
    return isinstance(held, Incoming) and _partition_of(held) not in partitions


def _partition_of(record: Incoming) -> Partition:
    return record.topic, record.partition


def _record_id(record: Incoming) -> RecordId:
    return _partition_of(record), record.offset


def _size(record: Incoming) -> int:
    """Return the approximate size of a record in memory, in bytes."""
    headers = sum(len(name) + len(value or b"") for name, value in record.headers)
    return RECORD_BYTES + len(record.key or b"") + len(record.value or b"") + headers


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
