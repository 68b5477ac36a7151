"""Heartbeats on a real broker: stages answer them by their commits, whatever else they have."""

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
from tests.integration.kafka_side import make_topics, produce_numbers, until
from tests.integration.toy_stage import Toy, beside, running, with_stage

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]

OFTEN = HeartbeatSettings(interval_seconds=0.5, limit_seconds=3)


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    made = changelogs([Toy(_ignore, table=True).stage])
    await make_topics(settings.kafka, REQUESTS, RESULTS, ERRORS, PROGRESS, *DELAYS, *made)


async def _ignore(_record: Incoming) -> Sequence[Effect]:
    return ()


@asynccontextmanager
async def watched(
    partitions: Collection[int], settings: Settings, health: Health, *stages: str
) -> AsyncIterator[None]:
    """Send heartbeats to some partitions, and watch some stages."""
    async with (
        GroupOffsets.open(settings.kafka) as offsets,
        ReliableProducer(settings.kafka) as outbox,
    ):
        heartbeats = Heartbeats(
            OFTEN,
            step="toy",
            topic_prefix=settings.kafka.topic_prefix,
            publish=outbox.publish,
            committed=offsets.committed,
            partitions=lambda: partitions,
            stages=stages,
        )
        async with heartbeats.sending(health):
            yield


async def degraded(health: Health, *stages: str) -> None:
    """Return when just these stages are named."""
    async with asyncio.timeout(20):
        while health.degraded().keys() != set(stages):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def answered(settings: Settings, stage: str, count: int) -> None:
    """Return when a stage has committed so many heartbeats; a new group has no coordinator yet."""
    async with GroupOffsets.open(settings.kafka) as offsets, asyncio.timeout(20):
        while True:
            with suppress(KafkaError):
                if sum((await offsets.committed(stage, HEARTBEATS)).values()) >= count:
                    return
            await asyncio.sleep(0.1)


async def test_a_stage_whose_handlers_all_hang_is_named_until_they_go_on(
    settings: Settings,
) -> None:
    hangs, release = asyncio.Event(), asyncio.Event()

    async def hang(_record: Incoming) -> Sequence[Effect]:
        hangs.set()
        await release.wait()
        return ()

    health, toy = Health(), Toy(hang, table=True)
    async with (
        running(toy, with_stage(settings, concurrency=2)),
        watched({0, 1}, settings, health, "toy"),
    ):
        await answered(settings, "toy", 8)
        await degraded(health)
        await produce_numbers(settings.kafka, REQUESTS, range(4))
        await until(hangs.is_set)
        await degraded(health, "toy")
        release.set()
        await degraded(health)
    assert {record.topic for record in toy.seen} == {REQUESTS.name}


async def test_a_healthy_worker_does_not_hide_one_of_the_same_stage_that_hangs(
    settings: Settings, tmp_path: Path
) -> None:
    hangs, release = asyncio.Event(), asyncio.Event()

    async def hang(_record: Incoming) -> Sequence[Effect]:
        hangs.set()
        await release.wait()
        return ()

    health, small = Health(), with_stage(settings, concurrency=1)
    async with (
        running(Toy(_ignore), small) as healthy,
        running(Toy(hang), beside(small, tmp_path)) as hanging,
        watched({0, 1}, settings, health, "toy"),
    ):
        both = (healthy, hanging)
        await until(lambda: all(len(each.heartbeat_partitions()) == 1 for each in both))
        [partition] = hanging.heartbeat_partitions()
        await produce_numbers(settings.kafka, REQUESTS, range(4))
        await until(hangs.is_set)
        await until(lambda: str(health.degraded().get("toy")).endswith(f"partition {partition}"))
        release.set()
        await degraded(health)


async def test_a_stage_that_runs_nowhere_is_named_and_no_other(settings: Settings) -> None:
    health = Health()
    async with (
        running(Toy(_ignore), settings),
        watched({0, 1}, settings, health, "toy", "ledger"),
    ):
        await degraded(health, "ledger")
        assert health.degraded()["ledger"].endswith("on partition 0, 1")


async def test_a_stage_whose_records_are_all_due_later_answers(settings: Settings) -> None:
    health, toy = Health(), Toy(_ignore)
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
        running(toy, settings),
        watched({0, 1}, settings, health, "toy"),
    ):
        await answered(settings, "toy", 8)
        await degraded(health)
        assert toy.seen == []
