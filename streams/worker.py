"""Runs any set of stages in one process, and starts one again when it crashes or stands still."""

import asyncio
import logging
import time
from collections.abc import Sequence

from streams.acks import Partition
from streams.health import Health
from streams.memory import MemoryMonitor, MemoryUsers
from streams.metrics import StageMetrics
from streams.outbox import Outbox
from streams.runner import StageRunner
from streams.settings import Settings
from streams.signals import Signals, following
from streams.stage import Stage
from streams.topic_admin import apply_topics, check_topics
from streams.topics import Topic, changelog_topic

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.5
"""How often a stage is looked at."""

RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Waits before a crashed stage is started again; the last one repeats."""

CALM_SECONDS = 60.0
"""A stage that ran for this long counts as healthy: its waits start from the beginning."""


class Worker:
    """The stages of one process. `run` returns only when cancelled."""

    def __init__(self, stages: Sequence[Stage], settings: Settings, health: Health) -> None:
        self._stages = stages
        self._settings = settings
        self._health = health
        self._memory = MemoryUsers()
        health.watch("memory", self._memory.problem)
        for stage in stages:
            health.watch(stage.name, _is_starting)

    async def run(self) -> None:
        """Check the topics, then run all stages until cancelled.

        Raises:
            TopicsError: topics are missing or wrong.
            MemoryExhaustedError: memory stayed near its limit, in an exception group.
        """
        await check_topics(self._settings.kafka)
        # Faust would create them too, but after the partitions are assigned: without tables.
        await apply_topics(self._settings.kafka, self._changelogs())
        async with (
            Outbox(self._settings.kafka) as outbox,
            following(self._settings.kafka) as signals,
            asyncio.TaskGroup() as group,
        ):
            self._health.watch("kafka", outbox.problem)
            group.create_task(MemoryMonitor(self._settings.memory, self._memory).run())
            for stage in self._stages:
                group.create_task(self._keep_running(stage, outbox, signals))

    def _changelogs(self) -> list[Topic]:
        return [
            changelog_topic(stage.name, table) for stage in self._stages for table in stage.tables
        ]

    async def _keep_running(self, stage: Stage, outbox: Outbox, signals: Signals) -> None:
        believed_gaps: set[tuple[Partition, int]] = set()
        failures = 0
        while True:
            started = time.monotonic()
            error = await self._run_once(stage, outbox, signals, believed_gaps)
            if time.monotonic() - started > CALM_SECONDS:
                failures = 0
            wait = RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)]
            failures += 1
            StageMetrics(stage.name).restarts.inc()
            log.error("%s stopped, starting again in %.1f s: %r", stage.name, wait, error)
            await asyncio.sleep(wait)

    async def _run_once(
        self,
        stage: Stage,
        outbox: Outbox,
        signals: Signals,
        believed_gaps: set[tuple[Partition, int]],
    ) -> BaseException:
        try:
            runner = StageRunner(
                stage,
                self._settings,
                outbox,
                signals=signals,
                memory=self._memory,
                believed_gaps=believed_gaps,
            )
            async with runner:
                self._health.watch(stage.name, runner.problem)
                return await self._watch(runner)
        except Exception as error:
            if _is_cancelled():
                # A runner that fails to close must not swallow the order to stop.
                raise asyncio.CancelledError from error
            return error
        finally:
            self._health.watch(stage.name, _is_starting)

    async def _watch(self, runner: StageRunner) -> BaseException:
        while (error := runner.failure()) is None:  # noqa: ASYNC110  (Faust has no such event)
            await asyncio.sleep(WATCH_SECONDS)
        return error


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_starting() -> str:
    return "is being started"
