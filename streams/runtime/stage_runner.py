"""Runs one stage as a Faust app, with at-least-once delivery and concurrent records.

Faust by itself loses events: it acknowledges an event whose handler raised, and commits past events
in flight. So the body of an agent never raises and never acknowledges; it only accepts records
(`streams.runtime.consumption`). `streams.runtime.dispatcher` starts them, and
`streams.runtime.offset_tracker` acknowledges their offsets in order.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from types import TracebackType
from typing import Any, Self

from streams.cluster.record_batches import UndecodableBatch
from streams.cluster.shutdown import STOP_SECONDS, exit_after_timeout
from streams.deadletters.headers import make_batch_dead_letter
from streams.faust_driver.app import build_app, crash_of, start_app
from streams.faust_driver.static_member import StaticMember
from streams.intake import Intake
from streams.memory.release import trim_memory
from streams.observability.health import HealthCheck
from streams.observability.lag import StageProgress
from streams.observability.metrics import StageMetrics
from streams.records import Effect, Incoming, Outgoing
from streams.runtime.assigned_partitions import AssignedPartitions, PartitionShare
from streams.runtime.chaining import ChainedEvent, chained_record
from streams.runtime.concurrency import ConcurrencyLimit
from streams.runtime.consumption import Consumption
from streams.runtime.housekeeping import Housekeeping
from streams.runtime.offset_tracker import OffsetTracker, Partition
from streams.runtime.processor import RecordProcessor
from streams.runtime.stage_tables import FLUSH_SECONDS, StageTables
from streams.runtime.stall_detector import Position, StallDetector, StalledError
from streams.runtime.worker_services import WorkerServices
from streams.stage import PeriodicTask, SlicingHandler, Stage, StageContext
from streams.topics import BY_NAME, CLIENT_TOPICS, READERS

log = logging.getLogger(__name__)


class StageRunner:
    """One running stage: its Faust app, its resources and its records in flight.

    Single use: after a crash the worker makes a new instance.

    Args:
        warn: reports a past incident to health, as a human-readable sentence.
    """

    def __init__(
        self,
        stage: Stage,
        services: WorkerServices,
        *,
        warn: Callable[[str], object] = lambda _: None,
        member: StaticMember | None = None,
    ) -> None:
        self.stage = stage
        self._services = services
        self._intake = Intake(stage.name)
        self._settings = settings = services.settings
        self._producer = services.producer
        self._offsets = OffsetTracker()
        self._warn = warn
        self._resources = AsyncExitStack()
        self._metrics = StageMetrics(stage.name)
        self._periodic_tasks: list[tuple[float, PeriodicTask]] = []
        self._checks: list[HealthCheck] = []
        self._sources = {
            topic.kafka_name(settings.kafka.topic_prefix): topic for topic in stage.reads
        }
        self._share = PartitionShare(stage.sources, settings.kafka.partitions)
        self.ready = asyncio.Event()
        self._member = member or StaticMember()
        self.app = build_app(stage.name, settings, self._member)
        self._tables = StageTables(stage, self.app, settings, self._member.lease)
        self.tables = self._tables.by_name
        self._periodic_tasks.append((FLUSH_SECONDS, self._tables.flush))
        self._processor: RecordProcessor | None = None
        self._partitions = AssignedPartitions(self.app, self._sources, self._offsets, self._share)
        self._is_measured = any(READERS.get(topic) == stage.name for topic in stage.sources)
        self._back_pressure_gate = self._services.back_pressure.gate(self._share)
        self._concurrency_limit = ConcurrencyLimit(stage.concurrency(settings))
        self.consumption = Consumption(
            stage,
            app=self.app,
            offsets=self._offsets,
            intake=self._intake,
            shared_state=self._services.shared_state,
            window=stage.window(settings),
            concurrency_limit=self._concurrency_limit,
            gate=self._back_pressure_gate,
            started_max=settings.stage.window,
            warn=warn,
        )
        self._housekeeping = Housekeeping(
            stage.name, self._write, ready=self.ready, fail=self.consumption.fail
        )

    async def __aenter__(self) -> Self:
        try:
            self._resources.enter_context(self._tables)
            self._processor = self._build_processor(await self._open())
            self.consumption.dispatcher.tasks.processor = self._processor
            self._resources.enter_context(self._intake.following(self._services.shared_state))
            self.consumption.subscribe(self._sources, self._settings.kafka.partitions)
            self.app.tables.recovery.on_undecodable = self._changelog_undecodable
            self._connect_rebalance_signals()
            self._resources.enter_context(
                self._services.back_pressure.register_gate(
                    self._back_pressure_gate, self.consumption.on_capacity
                )
            )
            if self._is_measured:
                self._resources.enter_context(
                    self._services.back_pressure.register_reader(self._partitions.finished_counts)
                )
            self._resources.enter_context(
                self._services.lag.tracking(self.stage.name, self.tables, self._progress)
            )
            if self.stage.chained:
                self._resources.enter_context(
                    self._services.chained_stages.registered(
                        self.stage.sources, self._process_chained, self._processor.writer.targets
                    )
                )
            self._resources.enter_context(self._local_delivery())
            self.consumption.start()
            await start_app(self.app)
            self.app.consumer.finished_ahead = self._partitions.finished_ahead
            background = self._housekeeping
            for seconds, task in self._periodic_tasks:
                background.run_until_stop(background.run_periodically(seconds, task))
            background.run_until_stop(self._tables.measure(self.consumption.fail))
            background.run_until_stop(self._watch_progress())
        except BaseException as error:
            await self._close(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        grace = self._settings.stage.shutdown_grace_seconds if self.stage.drains else 0
        try:
            await self.consumption.drain(grace)
        finally:
            await self._close(error)

    async def _close(self, error: BaseException | None) -> None:
        """Commit finished offsets and stop everything: an app left behind keeps its partitions."""
        # A failed stage restarts and stays in its group as a static member meanwhile.
        is_shutdown = isinstance(error, asyncio.CancelledError)
        self._member.leaving = is_shutdown or self._member.failures > 0
        self._metrics.ready.set(0)
        try:
            await self._housekeeping.stop()
            with exit_after_timeout(STOP_SECONDS, self.stage.name):
                # Records may arrive, and finish, before Faust reports the rebalance complete.
                if self.consumption.has_read and not self.app.crashed:
                    await self.app.consumer.commit()
                await self.app.stop()
        finally:
            await self._resources.aclose()

    async def _open(self) -> SlicingHandler:
        context = StageContext(
            settings=self._settings,
            tables=self.tables,
            publish_best_effort=self._housekeeping.publish_best_effort,
            shared_state=self._services.shared_state,
            intake=self._intake,
            indexed_tables=self._tables.indexed,
            periodic=self._periodic_tasks,
            checks=self._checks,
            partition_share=self._share,
            worker=self._member.worker,
        )
        self._resources.enter_context(
            self._services.memory.registered(self._intake, context.on_memory_pressure)
        )
        return await self._resources.enter_async_context(self.stage.open(context))

    def _build_processor(self, handler: SlicingHandler) -> RecordProcessor:
        return RecordProcessor(
            self.stage,
            handler,
            producer=self._producer,
            tables=self.tables,
            concurrency_limit=self._concurrency_limit,
            topic_prefix=self._settings.kafka.topic_prefix,
            on_finished=self._finished,
            reply_topics=self._settings.kafka.reply_topics,
            next_slice=self.consumption.dispatcher.next_slice,
            on_effects=self.consumption.dispatcher.charge,
            limit=self._settings.deadletters,
            chained_stages=self._services.chained_stages,
            on_chained=self.consumption.dispatcher.refund,
        )

    def _process_chained(self, event: Outgoing) -> ChainedEvent | None:
        """Process an event of another stage, if this one would take it at once from its topic.

        It owns the partition, runs, is not paused, and the later stages have capacity.
        """
        topic = event.topic
        if (
            event.key is None
            or not self.ready.is_set()
            or self.app.rebalancing
            or self._intake.paused
            or not self.consumption.dispatcher.accepts
        ):
            return None
        name = topic.kafka_name(self._settings.kafka.topic_prefix)
        partition = self._producer.partition_of(name, event.key)
        if partition is None or (topic.name, partition) not in self._partitions:
            return None
        record = chained_record(event, partition)
        if not self._back_pressure_gate.admits(self.consumption.dispatcher.claim(record)):
            return None
        assert self._processor is not None
        return self._processor.run_chained(event, record)

    def _local_delivery(self) -> AbstractContextManager[None]:
        """Let the records that this worker publishes for the stage skip the fetch."""
        if not self._settings.stage.local_delivery:
            return nullcontext()
        prefix = self._settings.kafka.topic_prefix
        own = [each for each in self.stage.sources if each.name not in CLIENT_TOPICS]
        return self._producer.local_delivery.registered(
            [topic.kafka_name(prefix) for topic in own], self.app.consumer.local
        )

    def _write(self, effects: Sequence[Effect]) -> Coroutine[Any, Any, int]:
        assert self._processor is not None
        return self._processor.write(effects)

    def _finished(self, records: Sequence[Incoming]) -> None:
        self.consumption.acknowledge(records)
        if self._is_measured:
            for topic, count in Counter(record.topic for record in records).items():
                self._services.back_pressure.finish(BY_NAME[topic], count)

    # Partitions

    def _connect_rebalance_signals(self) -> None:
        async def on_revoked(_app: Any, _partitions: Any, **_: Any) -> None:
            self.ready.clear()
            self._metrics.ready.set(0)
            self._offsets.suspend()

        async def on_assigned(_app: Any, partitions: Any, **_: Any) -> None:
            self._offsets.suspend()
            assigned = self._partitions.assign(partitions)
            self._tables.discard_out_of_order()
            self.consumption.retain(assigned)

        async def on_complete(_app: Any, **_: Any) -> None:
            self.ready.set()
            self._metrics.ready.set(1)
            # Fetches of a recovery leave free pages between the rows: 32 MiB with 100,000 rows.
            # Not awaited: the next rebalance may begin meanwhile.
            asyncio.get_running_loop().run_in_executor(None, trim_memory)

        # Faust keeps only weak references to signal receivers.
        self._receivers = (on_revoked, on_assigned, on_complete)
        self.app.on_partitions_revoked.connect(on_revoked)
        self.app.on_partitions_assigned.connect(on_assigned)
        self.app.on_rebalance_complete.connect(on_complete)

    def _changelog_undecodable(self, tp: Any, batch: UndecodableBatch) -> None:
        self._warn(f"{tp.topic}-{tp.partition}: {batch.problem}; its rows are lost")
        dead_letter = make_batch_dead_letter(tp.topic, tp.partition, batch, self.stage.name)
        self._housekeeping.publish_best_effort(dead_letter)

    # Background tasks

    async def _watch_progress(self) -> None:
        detector = StallDetector(self._settings.stage.stall_seconds)
        while True:
            await asyncio.sleep(self._settings.stage.stall_seconds / 4)
            try:
                detector.observe(await self._positions())
            except StalledError as error:
                self.consumption.fail(error)
            except Exception as error:  # noqa: BLE001  (an outage; retried)
                log.warning("%s: its progress cannot be read: %r", self.stage.name, error)

    async def _positions(self) -> dict[Partition, Position]:
        if not self.ready.is_set() or self._intake.paused:
            return {}
        return await self._partitions.positions()

    def _progress(self) -> StageProgress:
        """Return the stage's progress in its sources, and in its changelogs during recovery."""
        is_ready = self.ready.is_set() and not self.app.rebalancing
        tables = () if is_ready else self._tables.progress()
        return StageProgress(self._partitions.progress(is_ready=is_ready), tuple(tables))

    # State for the worker

    def problem(self) -> str | None:
        """Return why the stage is not ready, None when it is."""
        # A rebalance has begun before its signal clears the event.
        if not self.ready.is_set() or self.app.rebalancing:
            return "waits for its partitions and tables"
        checks = (self._intake.problem, *self._checks)
        return next((text for check in checks if (text := check())), None)

    def heartbeat_partitions(self) -> set[int]:
        """Return the assigned partitions of the heartbeats, none during a rebalance."""
        return self._partitions.heartbeats() if self.ready.is_set() else set()

    def failure(self) -> BaseException | None:
        """Return why the stage must be restarted, None while it runs."""
        if self.consumption.failure is not None:
            return self.consumption.failure
        return crash_of(self.app)
