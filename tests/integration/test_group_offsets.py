"""Progress of consumer groups on a real broker, including records finished ahead of a slow one."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import pytest_asyncio
from aiokafka.errors import KafkaError

from streams.cluster.producer import ReliableProducer
from streams.records import Effect, Incoming
from streams.runtime.back_pressure import GroupProgress
from streams.runtime.group_offsets import GroupOffsets
from streams.runtime.stage_runner import StageRunner
from streams.runtime.worker_services import WorkerServices
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import AUDIT, READERS, SELECTED
from tests.integration.kafka_client import create_topics, produce_numbers

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    await create_topics(settings.kafka, *READERS)


async def wait_for_progress(offsets: GroupOffsets, expected: GroupProgress) -> None:
    """Wait until a measurement equals ``expected``; a new cluster has no coordinator at first."""
    async with asyncio.timeout(20):
        while True:
            with suppress(KafkaError):
                if (await offsets.measure({}))[SELECTED] == expected:
                    return
            await asyncio.sleep(0.1)


async def test_group_without_commits_lags_by_all_records(settings: Settings) -> None:
    async with GroupOffsets.open(settings.kafka) as offsets:
        await wait_for_progress(offsets, GroupProgress(0, 0, is_remote=True))
        assert await offsets.measure({}) == dict.fromkeys(
            READERS, GroupProgress(0, 0, is_remote=True)
        )
        await produce_numbers(settings.kafka, SELECTED, range(7))
        assert (await offsets.measure({}))[SELECTED] == GroupProgress(7, 0, is_remote=True)
        known = {("videos.selected", 0): 2, ("videos.selected", 1): 1}
        assert (await offsets.measure(known))[SELECTED] == GroupProgress(7, 3)
        assert (await offsets.measure({}))[AUDIT] == GroupProgress(0, 0, is_remote=True)


async def test_records_finished_ahead_of_a_slow_one_count_as_finished(
    settings: Settings,
) -> None:
    slow = asyncio.Event()

    async def handle(record: Incoming) -> Sequence[Effect]:
        if int(record.value or b"0") < 2:
            await slow.wait()
        return ()

    @asynccontextmanager
    async def open_stage(_context: StageContext) -> AsyncIterator[Handler]:
        yield handle

    stage = Stage(READERS[SELECTED], (SELECTED,), open=open_stage, on_bug=lambda *_: ())
    await produce_numbers(settings.kafka, SELECTED, range(50))
    async with (
        GroupOffsets.open(settings.kafka) as offsets,
        ReliableProducer(settings.kafka) as producer,
        StageRunner(stage, WorkerServices(settings, producer)),
    ):
        await wait_for_progress(offsets, GroupProgress(50, 48, is_remote=True))
        slow.set()
        await wait_for_progress(offsets, GroupProgress(50, 50, is_remote=True))
