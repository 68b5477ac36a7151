"""The records of a stage between Faust and its work: within a window, each one once, none lost."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from streams.acks import InOrderAcks, Partition, SkippedOffsetsError
from streams.faust_app import to_incoming
from streams.intake import Intake
from streams.records import Incoming
from streams.signals import Signals
from streams.stage import Stage
from streams.topics import Topic
from streams.waiting_room import WaitingRoom

Run = Callable[[Incoming], Coroutine[Any, Any, None]]
"""Does all the work of one record; never raises, except when cancelled."""


class Flow:
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
        signals: Signals,
        window: int,
    ) -> None:
        self._run = run
        self._app = app
        self._acks = acks
        self._intake = intake
        self._windows = {topic.name: asyncio.Semaphore(window) for topic in stage.sources}
        self._tasks: dict[tuple[Partition, int], asyncio.Task[None]] = {}
        self._accepting = True
        self.failure: BaseException | None = None
        self.room: WaitingRoom | None = None
        self._alarm_clock: asyncio.Task[None] | None = None
        if stage.due is not None:
            self.room = WaitingRoom(
                tuple(self._windows), due=stage.due, go=self._start, signals=signals
            )

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self) -> None:
        """Let go what is due from now on."""
        if self.room is not None:
            self._alarm_clock = asyncio.create_task(self.room.run())
            self._alarm_clock.add_done_callback(self._note_failure)

    async def accept(self, topic: Topic, event: Any) -> None:
        """Take in an event of a topic; return when the next one may come."""
        await self._space(topic.name)
        message = event.message
        if self._is_new(topic, message) and self._accepting:
            record = to_incoming(topic, message)
            self._start(record) if self.room is None else self.room.enter(record)
        else:
            self._windows[topic.name].release()

    def keep(self, partitions: Collection[Partition]) -> None:
        """Stop the work of partitions that have another owner now."""
        self._acks.retain(partitions)
        for (partition, _), task in list(self._tasks.items()):
            if partition not in partitions:
                task.cancel()
        for topic in self.room.retain(partitions) if self.room else ():
            self._windows[topic].release()

    def fail(self, error: BaseException) -> None:
        """Take in nothing more; the stage is to be started again."""
        self._accepting = False
        self.failure = self.failure or error

    async def finish(self, grace: float) -> None:
        """Let running work end within a time, cancel the rest."""
        self._accepting = False
        if self._alarm_clock is not None:
            await cancel(self._alarm_clock)
        try:
            if self._tasks and grace:
                await asyncio.wait(self._tasks.values(), timeout=grace)
        finally:
            await cancel(*self._tasks.values())

    async def _space(self, topic: str) -> None:
        await self._intake.opened()
        await self._windows[topic].acquire()
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
            )
        except SkippedOffsetsError as error:
            self.fail(error)
            return False

    def _start(self, record: Incoming) -> asyncio.Task[None]:
        # Faust's own context keeps the event, and with it the record.
        task = asyncio.create_task(self._run(record), context=Context())
        name = ((record.topic, record.partition), record.offset)
        self._tasks[name] = task
        task.add_done_callback(partial(self._forget, name))
        return task

    def _forget(self, name: tuple[Partition, int], task: asyncio.Task[None]) -> None:
        (topic, _), _ = name
        self._windows[topic].release()
        # A partition that came back may have started the same record again meanwhile.
        if self._tasks.get(name) is task:
            del self._tasks[name]
        self._note_failure(task)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)


async def cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
