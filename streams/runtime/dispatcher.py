"""The dispatcher of a stage: starts records by rank, within slots and capacity of later stages.

A record that cannot start is held in a `Schedule`, without a task and uncommitted. `dispatch`
starts the next one when a slot is free and the later stages have capacity for its effects
(back-pressure): at once and without a task of its own when it need not wait.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from schemas.signals import CANCEL
from streams.claims import Claim, cancellable_ids
from streams.cluster.shared_state import SharedState
from streams.intake import Intake
from streams.observability.metrics import HELD
from streams.priority_queue import DEFAULT_RANK, URGENT
from streams.records import Effect, Incoming
from streams.runtime.back_pressure import BackPressureGate
from streams.runtime.concurrency import RESERVED, ConcurrencyLimit, Reservation
from streams.runtime.offset_tracker import Partition
from streams.runtime.record_tasks import RecordId, RecordTasks, partition_of, record_id_of
from streams.runtime.schedule import Schedule, Scheduled, scheduled
from streams.stage import Stage
from streams.topics import HEARTBEATS, Topic

log = logging.getLogger(__name__)


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


@dataclass(frozen=True, slots=True)
class _Slice:
    """A started record that waits for a slot for its next slice."""

    slot: "asyncio.Future[Reservation]"


class Dispatcher:
    """The records of a stage that are held or in progress.

    Args:
        on_done: called with the topic of each record that ended: finished, cancelled or dropped.
        on_failure: called with an error that ends the stage.

    Attributes:
        tasks: the records in progress.
        accepts: whether records are started; False when the stage stops.
        has_space: set while held records take less than `HELD_BYTES_MAX`.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        intake: Intake,
        shared_state: SharedState,
        concurrency_limit: ConcurrencyLimit,
        gate: BackPressureGate,
        started_max: int,
        on_done: Callable[[str], object],
        on_failure: Callable[[BaseException], object],
    ) -> None:
        self._stage = stage
        self._intake = intake
        self._shared_state = shared_state
        self._concurrency_limit = concurrency_limit
        self._gate = gate
        self._started_max = started_max
        self._on_done = on_done
        self.tasks = RecordTasks(
            on_ended=self._on_ended, on_task_done=self.dispatch, on_failure=on_failure
        )
        self._schedule: Schedule[Incoming | _Slice] = Schedule()
        HELD.labels(stage.name).set_function(self._schedule.__len__)
        self._held_bytes = 0
        self.has_space = asyncio.Event()
        self.has_space.set()
        self._started: dict[RecordId, Scheduled[Incoming | _Slice]] = {}
        self._redispatch: asyncio.Handle | None = None
        self._slicing = 0
        self.accepts = True
        concurrency_limit.on_free = intake.on_open = self.dispatch

    def orphan(self, partition: Partition) -> None:
        """Turn the tasks of a partition into orphans, and drop its held records."""
        self.tasks.orphan(partition)
        self._drop_held(lambda item: isinstance(item, Incoming) and partition_of(item) == partition)

    def retain(self, partitions: Collection[Partition]) -> None:
        """Cancel the tasks of all other partitions, and drop their held records."""
        self.tasks.retain(partitions)
        self._drop_held(partial(_is_revoked, partitions))

    def _drop_held(self, is_dropped: Callable[[Incoming | _Slice], bool]) -> None:
        for item in self._schedule.remove_where(is_dropped):
            assert isinstance(item, Incoming)
            self._add_held_bytes(-_size(item))
            self._on_done(item.topic)

    # Scheduling

    def dispatch(self) -> None:
        """Start held records while there are slots, and capacity in the later stages."""
        if self._redispatch is not None:
            return
        started = 0
        while started < SYNC_RECORDS:
            if not self._schedule or not self._can_start():
                return
            entry = self._schedule.pop(self._gate.admits)
            if entry is None:
                return
            if not isinstance(entry.item, _Slice):
                self._add_held_bytes(-_size(entry.item))
                self._start(entry.item, entry)
                started += 1 + self._start_waiting_behind(entry, SYNC_RECORDS - started - 1)
            elif not entry.item.slot.done():  # else its task was cancelled, and has not run since
                self._gate.spend(entry.claim)
                entry.item.slot.set_result(self._concurrency_limit.reserve())
        self._redispatch = asyncio.get_running_loop().call_soon(self._dispatch_again)

    def _start_waiting_behind(self, entry: Scheduled[Incoming | _Slice], limit: int) -> int:
        """Process the waiting records of the entry's key into its batch; return their number."""
        for count in range(limit):
            following = self._schedule.waiting_behind(entry)
            if following is None or not self._join(following):
                return count
        return limit

    def _join(self, entry: Scheduled[Incoming | _Slice]) -> bool:
        """Process a held record into the batch of its key's previous record, if it may join."""
        record = entry.item
        assert isinstance(record, Incoming)
        if not (
            self.tasks.may_join(entry.key)
            and self._can_start()
            and self._gate.admits(entry.claim)
            and self._process_sync(record, entry)
        ):
            return False
        self._schedule.join(entry)
        self._add_held_bytes(-_size(record))
        return True

    def _dispatch_again(self) -> None:
        self._redispatch = None
        self.dispatch()

    async def next_slice(self, record: Incoming) -> None:
        """Return when the next slice of a started record may be made, with a slot reserved for it.

        Slices are scheduled among the held records with the rank and arrival of their record:
        higher ranks go first, and among waiting batches the one that arrived first.
        """
        # An orphan's entry is gone, or replaced by that of a record of the new log.
        started = self._started.get(record_id_of(record)) or scheduled(
            record, self.claim(record), None
        )
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
        started = self._started.get(record_id_of(record))
        if started is not None:
            self._charge(started.claim, effects)

    def refund(self, record: Incoming, chained: Counter[Topic]) -> None:
        """Give back the capacity that a record has claimed for events that were not written."""
        started = self._started.get(record_id_of(record))
        if started is not None:
            self._gate.refund(started.claim, chained)

    def _charge(self, claim: Claim, effects: Sequence[Effect]) -> None:
        if claim.path and len(effects) > MANY_EFFECTS:
            self._gate.charge(effects, claim)

    def submit(self, record: Incoming) -> None:
        """Start a record, or hold it until it can be started."""
        claim = self.claim(record)
        # A client's key may equal that of a heartbeat, which must not wait behind it.
        is_ordered = self._stage.ordered and record.topic != HEARTBEATS.name
        key = record.key if is_ordered else None
        if self._start_at_once(record, claim, key):
            return
        self._add_held_bytes(_size(record))
        record.drop_cached()
        self._schedule.push(record, claim, key)
        for name in cancellable_ids(claim.request):
            if self._shared_state.get(f"{CANCEL}{name}") is not None:
                self._schedule.expedite(name)
        self.dispatch()

    def claim(self, record: Incoming) -> Claim:
        if record.topic == HEARTBEATS.name:
            return HEARTBEAT_CLAIM
        try:
            return self._stage.claim(record)
        except Exception:
            # Faust does not notice an agent that ended: the stage would stall.
            log.exception("%s: bug in the claim of %s", self._stage.name, record.position)
            return Claim(DEFAULT_RANK)

    def _start_at_once(self, record: Incoming, claim: Claim, key: bytes | None) -> bool:
        """Start a record if nothing is held and it has a slot, capacity and a free key.

        Without a free key it is processed into the batch of the record before it, if it may join.
        """
        if self._schedule or not self._can_start() or not self._gate.admits(claim):
            return False
        entry: Scheduled[Incoming | _Slice] = scheduled(record, claim, key)
        if self._schedule.is_free(key):
            self._start(record, entry)
        elif not self.tasks.may_join(key) or not self._process_sync(record, entry):
            return False
        self._schedule.start(key)
        return True

    def _can_start(self) -> bool:
        """Return whether there is a slot, and a record may be started."""
        # Slices belong to started records: counting them would make these wait for each other.
        return (
            self._concurrency_limit.has_free_slot
            and self.accepts
            and not self._intake.paused
            and len(self.tasks) - self._slicing < self._started_max
        )

    def on_cancel(self, key: str, value: bytes | None) -> None:
        if value is not None:
            self._schedule.expedite(key.removeprefix(CANCEL))
            self.dispatch()

    def _add_held_bytes(self, size: int) -> None:
        self._held_bytes += size
        if self._held_bytes < HELD_BYTES_MAX:
            self.has_space.set()
        else:
            self.has_space.clear()

    def _start(self, record: Incoming, entry: Scheduled[Incoming | _Slice]) -> None:
        """Process a record synchronously if that is possible, else in a task of its own."""
        if not self._process_sync(record, entry):
            self._gate.spend(entry.claim)
            self._started[record_id_of(record)] = entry
            self.tasks.start(record, self._concurrency_limit.reserve(), entry)

    def _process_sync(self, record: Incoming, entry: Scheduled[Incoming | _Slice]) -> bool:
        processed = self.tasks.processor.run_sync(record)
        if processed is None:
            return False
        chained = Counter[Topic]() if processed.chained is None else processed.chained.topics()
        self._gate.spend(entry.claim, chained)
        self._charge(entry.claim, processed.own)
        self.tasks.write(processed, entry)
        return True

    def _on_ended(self, record_id: RecordId, entry: Scheduled[Incoming | _Slice] | None) -> None:
        (topic, _), _ = record_id
        self._on_done(topic)
        if entry is not None:
            if self._started.get(record_id) is entry:
                del self._started[record_id]
            self._schedule.release(entry.key)


def _is_revoked(partitions: Collection[Partition], item: Incoming | _Slice) -> bool:
    """Return whether a held record was revoked; a slice is not: its task is cancelled instead."""
    return isinstance(item, Incoming) and partition_of(item) not in partitions


def _size(record: Incoming) -> int:
    """Return the approximate size of a record in memory, in bytes."""
    size = RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
    for name, value in record.headers:
        size += len(name) + len(value or b"")
    return size
