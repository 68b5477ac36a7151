"""The worker: a supervisor that runs any set of stages in one process.

It checks access and topics, opens what the stages share (producer, shared state, offsets), and
restarts a stage that crashed or stalled, with backoff. It does no work on records.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, nullcontext
from functools import partial

from aiokafka import TopicPartition

from streams.cluster.access_monitor import AccessMonitor
from streams.cluster.producer import ReliableProducer, Write
from streams.cluster.record_batches import BatchObserver, UndecodableBatch
from streams.cluster.shared_state import open_shared_state
from streams.cluster.topic_admin import check_topics
from streams.contract.role_acls import worker_acls
from streams.deadletters.headers import make_batch_dead_letter
from streams.faust_driver.app import group_dir
from streams.faust_driver.static_member import StaticMember, leased_member
from streams.memory.monitor import MemoryMonitor
from streams.memory.users import MemoryUsers
from streams.observability.event_loop import measure_loop_delay
from streams.observability.health import Health
from streams.observability.lag import LagMonitor
from streams.observability.metrics import StageMetrics
from streams.runtime.back_pressure import BackPressure
from streams.runtime.chaining import ChainedStages
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.heartbeats import Heartbeats
from streams.runtime.stage_runner import StageRunner
from streams.runtime.worker_services import WorkerServices
from streams.settings import Settings
from streams.stage import Stage, chained_topics, load_stages, stage_names, topics_of
from streams.topics import DEADLETTERS, SIGNALS, Topic

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.5
"""Poll interval for failures of a stage."""

RESTART_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0)
"""Backoff before a failed stage is restarted; the last value repeats."""

BACKOFF_RESET_SECONDS = 60.0
"""Uptime after which a stage counts as healthy: its backoff starts from the beginning."""

HeartbeatContext = Callable[[StageRunner], AbstractAsyncContextManager[None]]
"""Returns the context in which a stage runs: one that sends heartbeats, or a null context."""


class Worker:
    """Supervises the stages of one process. `run` returns only when cancelled."""

    def __init__(self, stages: Sequence[Stage], settings: Settings, health: Health) -> None:
        self._stages = stages
        self._settings = settings
        self._health = health
        self._memory = MemoryUsers()
        kafka = settings.kafka
        self._dead_letters: set[asyncio.Task[object]] = set()
        self._back_pressure = BackPressure(
            settings.stage, commit_seconds=kafka.commit_interval_seconds
        )
        self._lag = LagMonitor()
        self._chained_stages = ChainedStages(_chained_topics(stages, settings))
        self._access = AccessMonitor(
            kafka, worker_acls(stages, kafka.topic_prefix, kafka.reply_topics)
        )
        health.set_check("memory", self._memory.problem)
        for stage in stages:
            health.set_check(stage.name, _is_starting)

    async def run(self) -> None:
        """Check access and topics, then run all stages until cancelled.

        Raises:
            ClusterUnavailableError: no broker answers, or it rejects the login.
            MissingAclError: the principal lacks an ACL that these stages need.
            TopicsError: topics are missing or misconfigured.
            MemoryExhaustedError: memory stayed near its limit, in an exception group.
        """
        kafka = self._settings.kafka
        await self._access.require_at_start()
        await check_topics(kafka, topics_of(self._stages, kafka.reply_topics))
        async with (
            self._lease_members() as members,
            ReliableProducer(self._settings.kafka) as producer,
            open_shared_state(
                self._settings.kafka, BatchObserver(partial(self._publish_undecodable, producer))
            ) as shared_state,
            GroupOffsets.open(self._settings.kafka) as offsets,
            asyncio.TaskGroup() as group,
        ):
            self._health.set_check("kafka", producer.problem)
            self._health.set_check("access", self._access.problem)
            group.create_task(self._access.run())
            group.create_task(MemoryMonitor(self._settings.memory, self._memory).run())
            group.create_task(self._back_pressure.run(offsets.measure))
            group.create_task(self._lag.run(offsets))
            group.create_task(measure_loop_delay())
            services = WorkerServices(
                self._settings,
                producer,
                shared_state=shared_state,
                memory=self._memory,
                back_pressure=self._back_pressure,
                lag=self._lag,
                chained_stages=self._chained_stages,
            )
            start_heartbeats = partial(self._heartbeats, producer, offsets)
            for stage in self._stages:
                member = members[stage.name]
                group.create_task(self._supervise(stage, services, member, start_heartbeats))

    @asynccontextmanager
    async def _lease_members(self) -> AsyncIterator[dict[str, StaticMember]]:
        """Lease the worker's static member id in the consumer group of each stage."""
        instance_id = self._settings.kafka.group_instance_id
        with ExitStack() as leases:
            yield {
                stage.name: leases.enter_context(
                    leased_member(
                        group_dir(stage.name, self._settings),
                        [topic.name for topic in stage.reads] + list(stage.tables),
                        instance_id,
                    )
                )
                for stage in self._stages
            }

    def _publish_undecodable(
        self, producer: ReliableProducer, tp: TopicPartition, batch: UndecodableBatch
    ) -> None:
        """Publish an undecodable batch of the topic ``signals`` as a dead letter, best effort."""
        self._health.warn("signals", f"{tp.topic}-{tp.partition}: {batch.problem}")
        dead_letter = make_batch_dead_letter(SIGNALS.name, tp.partition, batch, SIGNALS.name)
        name = DEADLETTERS.kafka_name(self._settings.kafka.topic_prefix)
        write = Write(name, dead_letter.key, dead_letter.value, dead_letter.headers)
        task = asyncio.create_task(producer.publish([write]))
        self._dead_letters.add(task)
        task.add_done_callback(self._dead_letters.discard)

    def _heartbeats(
        self, producer: ReliableProducer, offsets: GroupOffsets, runner: StageRunner
    ) -> AbstractAsyncContextManager[None]:
        """Return the heartbeats that run beside a stage, a null context for stages without."""
        settings = self._settings.heartbeat
        if not (runner.stage.sends_heartbeats and settings.interval_seconds):
            return nullcontext()
        return Heartbeats(
            settings,
            step=runner.stage.name,
            topic_prefix=self._settings.kafka.topic_prefix,
            publish=producer.publish,
            committed=offsets.committed,
            partitions=runner.heartbeat_partitions,
            stages={*stage_names(), *(stage.name for stage in self._stages)},
        ).sending(self._health)

    async def _supervise(
        self,
        stage: Stage,
        services: WorkerServices,
        member: StaticMember,
        heartbeats: HeartbeatContext,
    ) -> None:
        failures = 0
        while True:
            started = time.monotonic()
            member.failures = failures
            error = await self._run_once(stage, services, member, heartbeats)
            if time.monotonic() - started > BACKOFF_RESET_SECONDS:
                failures = 0
            wait = RESTART_SECONDS[min(failures, len(RESTART_SECONDS) - 1)]
            failures += 1
            StageMetrics(stage.name).restarts.inc()
            log.error("%s failed, restart in %.1f s: %r", stage.name, wait, error)
            await asyncio.sleep(wait)

    async def _run_once(
        self,
        stage: Stage,
        services: WorkerServices,
        member: StaticMember,
        heartbeats: HeartbeatContext,
    ) -> BaseException:
        try:
            warn = partial(self._health.warn, stage.name)
            runner = StageRunner(stage, services, warn=warn, member=member)
            async with runner, heartbeats(runner):
                self._health.set_check(stage.name, runner.problem)
                return await self._wait_for_failure(runner)
        except Exception as error:
            if _is_cancelled():
                # A runner that fails to close must not swallow the cancellation.
                raise asyncio.CancelledError from error
            return error
        finally:
            self._health.set_check(stage.name, _is_starting)

    async def _wait_for_failure(self, runner: StageRunner) -> BaseException:
        while (error := runner.failure()) is None:  # noqa: ASYNC110  (Faust has no such event)
            await asyncio.sleep(WATCH_SECONDS)
        return error


def _chained_topics(stages: Sequence[Stage], settings: Settings) -> frozenset[Topic]:
    """Return the topics whose events are chained in a worker of these stages."""
    is_useful = len(stages) > 1 and any(stage.chained for stage in stages)
    if not settings.stage.chaining or not is_useful:
        return frozenset()
    try:
        # A plug-in may read a topic in a worker of its own.
        installed = {stage.name: stage for stage in (*load_stages(), *stages)}
    except Exception as error:  # noqa: BLE001  (of a plug-in that this worker does not run)
        log.warning("stages are not chained: an installed one cannot be loaded: %r", error)
        return frozenset()
    return chained_topics(tuple(installed.values()))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_starting() -> str:
    return "is starting"
