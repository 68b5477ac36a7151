"""Runs one stage as a Faust app, so that no event is lost and none blocks another.

What Faust does on its own loses events: it acknowledges an event whose handler raised, and
commits past events in flight. So the agent body below never raises and never acknowledges by
itself; it starts bounded tasks, and `streams.acks` acknowledges in order.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, Self

from streams.acks import InOrderAcks, Partition, SkippedOffsetsError
from streams.faust_app import (
    build_app,
    end_offsets,
    raw_topic,
    read_from,
    start_app,
    to_incoming,
)
from streams.last_resort import STOP_SECONDS, ends_within
from streams.metrics import TABLE_ROWS, StageMetrics
from streams.outbox import Outbox
from streams.records import Incoming, Outgoing
from streams.settings import Settings
from streams.stage import Handler, HealthCheck, Stage, StageContext, Sweep
from streams.tables import StageTable
from streams.topics import Topic
from streams.watchdog import Position, StalledError, Watchdog
from streams.work import Work

log = logging.getLogger(__name__)


class StageRunner:
    """One running stage: its Faust app, its resources and its work in flight.

    An instance runs once; after a crash make a new one, passing on ``believed_gaps``.
    """

    def __init__(
        self,
        stage: Stage,
        settings: Settings,
        outbox: Outbox,
        *,
        believed_gaps: set[tuple[Partition, int]] | None = None,
    ) -> None:
        self.stage = stage
        self._settings = settings
        self._outbox = outbox
        self._acks = InOrderAcks(believed_gaps)
        self._tasks: dict[tuple[Partition, int], asyncio.Task[None]] = {}
        self._supplements: set[asyncio.Task[None]] = set()
        self._window = {
            topic.name: asyncio.Semaphore(stage.window(settings)) for topic in stage.sources
        }
        self._resources = AsyncExitStack()
        self._metrics = StageMetrics(stage.name)
        self._sweeps: list[tuple[float, Sweep]] = []
        self._checks: list[HealthCheck] = []
        self._names = {
            topic.kafka_name(settings.kafka.topic_prefix): topic.name for topic in stage.sources
        }
        self._crash: BaseException | None = None
        self._accepting = True
        self.ready = asyncio.Event()
        self.app = build_app(stage.name, settings)
        self.tables = {
            name: StageTable(self.app, name, settings.kafka.partitions) for name in stage.tables
        }
        self._work: Work | None = None

    async def __aenter__(self) -> Self:
        try:
            self._work = self._build_work(await self._open())
            for topic in self.stage.sources:
                self._subscribe(topic)
            self._follow_rebalances()
            await start_app(self.app)
            for seconds, sweep in self._sweeps:
                self._beside(self._sweep_every(seconds, sweep))
            self._beside(self._watch_progress())
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        try:
            await self._finish_work()
        finally:
            await self._close()

    async def _close(self) -> None:
        """Commit what is done and end everything: an app left behind keeps its partitions."""
        self._metrics.ready.set(0)
        try:
            with ends_within(STOP_SECONDS, self.stage.name):
                if self.ready.is_set() and not self.app.crashed:
                    await self.app.consumer.commit()
                await self.app.stop()
        finally:
            await self._resources.aclose()

    async def _open(self) -> Handler:
        context = StageContext(
            settings=self._settings,
            tables=self.tables,
            supplement=self._supplement,
            sweeps=self._sweeps,
            checks=self._checks,
        )
        return await self._resources.enter_async_context(self.stage.open(context))

    def _build_work(self, handler: Handler) -> Work:
        return Work(
            self.stage,
            handler,
            outbox=self._outbox,
            tables=self.tables,
            concurrency=self.stage.concurrency(self._settings),
            topic_prefix=self._settings.kafka.topic_prefix,
            finished=self._finished,
        )

    # The way of an event

    def _subscribe(self, topic: Topic) -> None:
        """Declare the agent that reads a topic."""
        kafka_name = topic.kafka_name(self._settings.kafka.topic_prefix)
        channel = raw_topic(self.app, kafka_name, self._settings.kafka.partitions)

        async def consume(stream: Any) -> None:
            async for event in stream.noack().events():
                await self._accept(topic, event)

        self.app.agent(channel, name=f"{self.stage.name}:{topic.name}")(consume)

    async def _accept(self, topic: Topic, event: Any) -> None:
        window = self._window[topic.name]
        await window.acquire()
        message = event.message
        place: Partition = (topic.name, message.partition)
        try:
            new = message.generation_id == self.app.consumer_generation_id and self._acks.deliver(
                place, message.offset, event.ack, committed=self.app.consumer.start_of(message.tp)
            )
        except SkippedOffsetsError as error:
            self._fail(error)
            new = False
        if new and self._accepting:
            self._start(place, to_incoming(topic, message), window)
        else:
            window.release()

    def _start(self, place: Partition, record: Incoming, window: asyncio.Semaphore) -> None:
        assert self._work is not None
        task = asyncio.create_task(self._work.run(record))
        self._tasks[place, record.offset] = task
        task.add_done_callback(partial(self._forget, (place, record.offset), window))

    def _forget(
        self, name: tuple[Partition, int], window: asyncio.Semaphore, task: asyncio.Task[None]
    ) -> None:
        window.release()
        # A partition that came back may have started the same record again meanwhile.
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._accepting = False
        self._crash = self._crash or error

    def _finished(self, record: Incoming) -> None:
        self._acks.finish((record.topic, record.partition), record.offset)

    # Rebalances

    def _follow_rebalances(self) -> None:
        async def revoked(_app: Any, _partitions: Any, **_: Any) -> None:
            self._not_ready()
            self._acks.suspend()

        async def assigned(_app: Any, partitions: Any, **_: Any) -> None:
            self._acks.suspend()
            mine = (tp for tp in partitions if tp.topic in self._names)
            self._keep({(self._names[tp.topic], tp.partition) for tp in mine})

        async def complete(_app: Any, **_: Any) -> None:
            self.ready.set()
            self._metrics.ready.set(1)

        # Faust holds signal receivers by weak reference.
        self._receivers = (revoked, assigned, complete)
        self.app.on_partitions_revoked.connect(revoked)
        self.app.on_partitions_assigned.connect(assigned)
        self.app.on_rebalance_complete.connect(complete)

    def _not_ready(self) -> None:
        self.ready.clear()
        self._metrics.ready.set(0)

    def _keep(self, partitions: set[Partition]) -> None:
        """Stop the work of partitions that have another owner now."""
        self._acks.retain(partitions)
        for (partition, _), task in list(self._tasks.items()):
            if partition not in partitions:
                task.cancel()

    # Beside the events

    def _supplement(self, record: Outgoing) -> None:
        assert self._work is not None
        task = asyncio.create_task(self._outbox.publish([self._work.to_write(record)]))
        self._supplements.add(task)
        task.add_done_callback(self._supplement_done)

    def _supplement_done(self, task: asyncio.Task[None]) -> None:
        self._supplements.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("%s: supplement lost: %r", self.stage.name, task.exception())

    def _beside(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something as long as the stage runs."""
        self._resources.push_async_callback(_cancel, asyncio.create_task(work))

    async def _watch_progress(self) -> None:
        watchdog = Watchdog(self._settings.stage.stall_seconds)
        while True:
            await asyncio.sleep(self._settings.stage.stall_seconds / 4)
            try:
                watchdog.observe(await self._positions())
            except StalledError as error:
                self._fail(error)
            except Exception as error:  # noqa: BLE001  (the cluster may be away; ask again later)
                log.warning("%s: cannot see how far it is: %r", self.stage.name, error)

    async def _positions(self) -> dict[Partition, Position]:
        if not self.ready.is_set():
            return {}
        positions: dict[Partition, Position] = {}
        for tp, end in (await end_offsets(self.app, self._names)).items():
            place = (self._names[tp.topic], tp.partition)
            positions[place] = Position(
                end=end,
                committed=read_from(self.app, tp),
                delivered=self._acks.delivered(place),
                in_flight=self._acks.in_flight(place),
            )
        return positions

    async def _sweep_every(self, seconds: float, sweep: Sweep) -> None:
        assert self._work is not None
        while True:
            await asyncio.sleep(seconds)
            for name, table in self.tables.items():
                TABLE_ROWS.labels(self.stage.name, name).set(len(table))
            try:
                effects = sweep() if self.ready.is_set() else ()
                await self._work.write(effects)
            except Exception:
                self._metrics.bugs.inc()
                log.exception("%s: housekeeping failed, next time again", self.stage.name)

    # State seen from outside

    def problem(self) -> str | None:
        """Return why the stage is not ready for work, None when it is."""
        # Faust says "complete" before it reads on.
        if not self.ready.is_set() or self.app.rebalancing:
            return "waits for its partitions and tables"
        return next((text for check in self._checks if (text := check())), None)

    def failure(self) -> BaseException | None:
        """Return why the stage must be started again, None while it runs."""
        if self._crash is not None:
            return self._crash
        if self.app.crashed or self.app.should_stop:
            return self.app.crash_reason or RuntimeError("the Faust app stopped by itself")
        return None

    async def _finish_work(self) -> None:
        """Let running work end within the grace time, cancel the rest."""
        self._accepting = False
        grace = self._settings.stage.shutdown_grace_seconds if self.stage.drains else 0
        try:
            if self._tasks and grace:
                await asyncio.wait(self._tasks.values(), timeout=grace)
        finally:
            await _cancel(*self._tasks.values(), *self._supplements)


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
