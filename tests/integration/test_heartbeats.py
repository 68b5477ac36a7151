"""Heartbeats on a real broker: stages acknowledge them by their commits, under any load."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio
from aiokafka.errors import KafkaError

from streams.cluster.producer import ReliableProducer
from streams.observability.health import Health
from streams.records import Effect, Incoming
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.heartbeats import Heartbeats
from streams.settings import HeartbeatSettings, Settings
from streams.stage import Stage, changelogs
from streams.topics import DELAYS, ERRORS, HEARTBEATS, PROGRESS, REQUESTS, RESULTS
from tests.integration.kafka_client import create_topics, produce_numbers, wait_until
from tests.integration.toy_stage import (
    ToyStage,
    running_stage,
    second_process_settings,
    with_stage_settings,
)

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]

SHORT_INTERVALS = HeartbeatSettings(interval_seconds=0.5, limit_seconds=3)


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    changelog_topics = changelogs([ToyStage(_ignore, table=True).stage])
    await create_topics(
        settings.kafka, REQUESTS, RESULTS, ERRORS, PROGRESS, *DELAYS, *changelog_topics
    )


async def _ignore(_record: Incoming) -> Sequence[Effect]:
    return ()


@asynccontextmanager
async def monitored(
    partitions: Collection[int], settings: Settings, health: Health, *stages: str
) -> AsyncIterator[None]:
    """Send heartbeats to some partitions, and monitor some stages."""
    async with (
        GroupOffsets.open(settings.kafka) as offsets,
        ReliableProducer(settings.kafka) as producer,
    ):
        heartbeats = Heartbeats(
            SHORT_INTERVALS,
            step="toy",
            topic_prefix=settings.kafka.topic_prefix,
            publish=producer.publish,
            committed=offsets.committed,
            partitions=lambda: partitions,
            stages=stages,
        )
        async with heartbeats.sending(health):
            yield


async def wait_until_degraded(health: Health, *stages: str) -> None:
    """Wait until exactly these stages are degraded."""
    async with asyncio.timeout(20):
        while health.degraded().keys() != set(stages):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def wait_until_acknowledged(settings: Settings, stage: str, count: int) -> None:
    """Wait until a stage has committed ``count`` heartbeats; a new group has no coordinator yet."""
    async with GroupOffsets.open(settings.kafka) as offsets, asyncio.timeout(20):
        while True:
            with suppress(KafkaError):
                if sum((await offsets.committed(stage, HEARTBEATS)).values()) >= count:
                    return
            await asyncio.sleep(0.1)


async def test_stage_with_all_handlers_hanging_is_degraded_until_they_resume(
    settings: Settings,
) -> None:
    hangs, release = asyncio.Event(), asyncio.Event()

    async def hang(_record: Incoming) -> Sequence[Effect]:
        hangs.set()
        await release.wait()
        return ()

    health, toy = Health(), ToyStage(hang, table=True)
    async with (
        running_stage(toy, with_stage_settings(settings, concurrency=2)),
        monitored({0, 1}, settings, health, "toy"),
    ):
        await wait_until_acknowledged(settings, "toy", 8)
        await wait_until_degraded(health)
        await produce_numbers(settings.kafka, REQUESTS, range(4))
        await wait_until(hangs.is_set)
        await wait_until_degraded(health, "toy")
        release.set()
        await wait_until_degraded(health)
    assert {record.topic for record in toy.seen} == {REQUESTS.name}


async def test_healthy_worker_does_not_hide_a_hanging_one_of_the_same_stage(
    settings: Settings, tmp_path: Path
) -> None:
    hangs, release = asyncio.Event(), asyncio.Event()

    async def hang(_record: Incoming) -> Sequence[Effect]:
        hangs.set()
        await release.wait()
        return ()

    health, small = Health(), with_stage_settings(settings, concurrency=1)
    async with (
        running_stage(ToyStage(_ignore), small) as healthy,
        running_stage(ToyStage(hang), second_process_settings(small, tmp_path)) as hanging,
        monitored({0, 1}, settings, health, "toy"),
    ):
        both = (healthy, hanging)
        await wait_until(lambda: all(len(each.heartbeat_partitions()) == 1 for each in both))
        [partition] = hanging.heartbeat_partitions()
        await produce_numbers(settings.kafka, REQUESTS, range(4))
        await wait_until(hangs.is_set)
        await wait_until(
            lambda: str(health.degraded().get("toy")).endswith(f"partition {partition}")
        )
        release.set()
        await wait_until_degraded(health)


async def test_only_the_stage_without_a_worker_is_degraded(settings: Settings) -> None:
    health = Health()
    async with (
        running_stage(ToyStage(_ignore), settings),
        monitored({0, 1}, settings, health, "toy", "ledger"),
    ):
        await wait_until_degraded(health, "ledger")
        assert health.degraded()["ledger"].endswith("on partition 0, 1")


async def test_stage_with_only_delayed_records_acknowledges_heartbeats(settings: Settings) -> None:
    health, toy = Health(), ToyStage(_ignore)
    toy.stage = Stage(
        "toy",
        tuple(DELAYS),
        open=toy.open,
        on_bug=lambda *_: (),
        ordered=False,
        drains=False,
        due=lambda _record, now: now + 3_600,
    )
    await produce_numbers(settings.kafka, next(iter(DELAYS)), range(200))
    async with (
        running_stage(toy, settings),
        monitored({0, 1}, settings, health, "toy"),
    ):
        await wait_until_acknowledged(settings, "toy", 8)
        await wait_until_degraded(health)
        assert toy.seen == []
