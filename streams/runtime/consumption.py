"""Consumption of a stage's records: from Faust's stream to the dispatcher, and to the offsets.

Each record is delivered once within its generation and in flight within a window; uncommitted
records are read again by the next owner of the partition, so none is lost. A record that is due
later is held in a `DelayQueue`, all others by the `Dispatcher`. Offsets are acknowledged through
`streams.runtime.offset_tracker`.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from schemas.signals import CANCEL
from streams.cluster.record_batches import UndecodableBatch
from streams.cluster.shared_state import SharedState
from streams.faust_driver.app import raw_topic, to_incoming
from streams.faust_driver.consumer import OffsetReset, PolledRecords
from streams.intake import Intake
from streams.observability.metrics import OFFSET_RESETS, UNDECODABLE_BATCHES, start_at_zero
from streams.records import Incoming
from streams.runtime.back_pressure import BackPressureGate
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.delay_queue import DelayQueue
from streams.runtime.dispatcher import Dispatcher
from streams.runtime.offset_tracker import OffsetTracker, Partition, SkippedOffsetsError
from streams.runtime.record_tasks import cancel
from streams.stage import Stage
from streams.topics import HEARTBEATS, Topic

log = logging.getLogger(__name__)


class Consumption:
    """The records that a stage has consumed and not finished.

    Args:
        warn: reports a past incident to health, as a human-readable sentence.

    Attributes:
        dispatcher: holds and starts the records.
        has_read: whether any record was delivered.
        failure: why the stage must be restarted, None while it consumes.
        delay_queue: holds records until they are due, in stages with a due time.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        app: Any,
        offsets: OffsetTracker,
        intake: Intake,
        shared_state: SharedState,
        window: int,
        concurrency_limit: ConcurrencyLimit,
        gate: BackPressureGate,
        started_max: int,
        warn: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._stage = stage
        self._app = app
        self._offsets = offsets
        self._intake = intake
        self._shared_state = shared_state
        self._windows = {topic.name: asyncio.Semaphore(window) for topic in stage.reads}
        self.dispatcher = Dispatcher(
            stage,
            intake=intake,
            shared_state=shared_state,
            concurrency_limit=concurrency_limit,
            gate=gate,
            started_max=started_max,
            on_done=lambda topic: self._windows[topic].release(),
            on_failure=self.fail,
        )
        self._subscriptions = ExitStack()
        self._warn = warn
        self.has_read = False
        self.failure: BaseException | None = None
        self.delay_queue: DelayQueue | None = None
        self._delay_task: asyncio.Task[None] | None = None
        if stage.due is not None:
            self.delay_queue = DelayQueue(
                tuple(self._windows),
                due=self._due,
                claim=self.dispatcher.claim,
                gate=gate,
                start=self.dispatcher.tasks.start,
                shared_state=shared_state,
            )

    def subscribe(self, sources: Mapping[str, Topic], partitions: int) -> None:
        """Declare the Faust agents of the topics, and handle gaps and resets in their logs.

        Args:
            sources: the topics by their names on Kafka.
            partitions: number of partitions of each.
        """
        for kafka_name, topic in sources.items():
            channel = raw_topic(self._app, kafka_name, partitions)
            body = partial(self._consume, topic)
            self._app.agent(channel, name=f"{self._stage.name}:{topic.name}")(body)
        start_at_zero(OFFSET_RESETS, sources, ("truncated", "expired"))
        start_at_zero(UNDECODABLE_BATCHES, sources)
        consumer = self._app.consumer
        consumer.on_gap = lambda tp, start, end: self.skip_gap(sources[tp.topic], tp, start, end)
        consumer.on_offset_reset = lambda reset: self.reset_partition(
            sources[reset.tp.topic], reset
        )

    async def _consume(self, topic: Topic, stream: Any) -> None:
        """Accept the records of a topic: the body of its Faust agent, which never raises."""
        async for event in stream.noack().events():
            self.has_read = True
            polled: PolledRecords = event.message
            for tp, records in polled.partitions.items():
                for record in records:
                    if isinstance(batch := record.value, UndecodableBatch):
                        self._warn(f"{record.topic}-{record.partition}: {batch.problem}")
                    await self.accept(topic, tp, record, polled.generation_id)

    def start(self) -> None:
        """Listen for cancellations, and start the delay queue."""
        on_cancel = self.dispatcher.on_cancel
        self._subscriptions.enter_context(self._shared_state.listen(CANCEL, on_cancel))
        if self.delay_queue is not None:
            self._delay_task = asyncio.create_task(self.delay_queue.run())
            self._delay_task.add_done_callback(self.dispatcher.tasks.record_failure)

    async def accept(self, topic: Topic, tp: Any, polled: Any, generation: int) -> None:
        """Take in a polled record of a topic; return when the next one may be delivered."""
        await self._wait_for_space(topic.name)
        if self._register(topic, tp, polled, generation) and self.dispatcher.accepts:
            record = to_incoming(topic, polled)
            if self.delay_queue is None:
                self.dispatcher.submit(record)
            elif isinstance(record.value, UndecodableBatch):
                self.dispatcher.tasks.start(record)
            else:
                self.delay_queue.put(record)
        else:
            self._windows[topic.name].release()

    def skip_gap(self, topic: Topic, tp: Any, start: int, end: int) -> None:
        """Account for offsets at which the log has no record."""
        consumer = self._app.consumer
        self._offsets.skip_gap(
            (topic.name, tp.partition),
            start,
            end,
            partial(consumer.acknowledge, tp, end - 1),
            committed=consumer.start_offset(tp),
        )

    def reset_partition(self, topic: Topic, reset: OffsetReset) -> None:
        """Reset the state of a partition whose log was truncated or created again.

        Tasks of the old log's records go on, as these records exist nowhere else any more. They
        acknowledge nothing, because their offsets now belong to other records.
        """
        OFFSET_RESETS.labels(reset.tp.topic, reset.reason).inc()
        log.error("%s: %s", self._stage.name, reset.problem)
        self._warn(reset.problem)
        partition = (topic.name, reset.tp.partition)
        self._offsets.reset(partition)
        self.dispatcher.orphan(partition)
        for held_topic in self.delay_queue.drop(partition) if self.delay_queue else ():
            self._windows[held_topic].release()

    def acknowledge(self, records: Sequence[Incoming]) -> None:
        """Acknowledge records whose effects are all written; called by their own task."""
        for partition, offset in self.dispatcher.tasks.owned_by_current(records):
            self._offsets.finish(partition, offset)

    def retain(self, partitions: Collection[Partition]) -> None:
        """Stop the work of all other partitions: they were revoked."""
        self._offsets.retain(partitions)
        self.dispatcher.retain(partitions)
        for topic in self.delay_queue.retain(partitions) if self.delay_queue else ():
            self._windows[topic].release()

    def fail(self, error: BaseException) -> None:
        """Stop consuming and report why the stage must be restarted; the first error is kept."""
        self.dispatcher.accepts = False
        self.failure = self.failure or error

    async def drain(self, grace: float) -> None:
        """Stop consuming, wait for tasks in flight up to a grace period, and cancel the rest."""
        self.dispatcher.accepts = False
        self._subscriptions.close()
        if self._delay_task is not None:
            await cancel(self._delay_task)
        await self.dispatcher.tasks.drain(grace)

    def on_capacity(self) -> None:
        """Start, or release, records that waited for capacity of later stages."""
        self.dispatcher.dispatch()
        if self.delay_queue is not None:
            self.delay_queue.wake()

    async def _wait_for_space(self, topic: str) -> None:
        if self._intake.paused:
            await self._intake.wait_until_open()
        await self._windows[topic].acquire()
        has_space = self.dispatcher.has_space
        if topic != HEARTBEATS.name and not has_space.is_set():
            await has_space.wait()
        if self.delay_queue is not None:
            await self.delay_queue.wait_for_space(topic)

    def _register(self, topic: Topic, tp: Any, polled: Any, generation: int) -> bool:
        """Register a record with the offset tracker; return whether it is to be processed.

        It is not when it is of an earlier generation, or in flight already. During a rebalance the
        tracker has no position; the record is read again.
        """
        consumer = self._app.consumer
        if generation != self._app.consumer_generation_id or not consumer.flow_active:
            return False
        try:
            return self._offsets.deliver(
                (topic.name, polled.partition),
                polled.offset,
                partial(consumer.acknowledge, tp, polled.offset),
                committed=consumer.start_offset(tp),
                timestamp=(polled.timestamp or 0) / 1000,
            )
        except SkippedOffsetsError as error:
            self.fail(error)
            return False

    def _due(self, record: Incoming, now: float) -> float | None:
        if self._stage.due is None or record.topic == HEARTBEATS.name:
            return None
        return self._stage.due(record, now)
