"""How far consumer groups are, on a real broker: also what is finished ahead of a slow record."""

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
from streams.settings import Settings
from streams.stage import Handler, Stage, StageContext
from streams.topics import AUDIT, READERS, SELECTED
from tests.integration.kafka_side import make_topics, produce_numbers

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.usefixtures("topics")]


@pytest_asyncio.fixture(loop_scope="session")
async def topics(settings: Settings) -> None:
    await make_topics(settings.kafka, *READERS)


async def standing(offsets: GroupOffsets, expected: GroupProgress) -> None:
    """Wait until a measurement says so; a new cluster has no coordinator at first."""
    async with asyncio.timeout(20):
        while True:
            with suppress(KafkaError):
                if (await offsets.measure({}))[SELECTED] == expected:
                    return
            await asyncio.sleep(0.1)


async def test_a_group_that_has_never_committed_has_all_before_it(settings: Settings) -> None:
    async with GroupOffsets.open(settings.kafka) as offsets:
        await standing(offsets, GroupProgress(0, 0, is_late=True))
        assert await offsets.measure({}) == dict.fromkeys(
            READERS, GroupProgress(0, 0, is_late=True)
        )
        await produce_numbers(settings.kafka, SELECTED, range(7))
        assert (await offsets.measure({}))[SELECTED] == GroupProgress(7, 0, is_late=True)
        known = {("videos.selected", 0): 2, ("videos.selected", 1): 1}
        assert (await offsets.measure(known))[SELECTED] == GroupProgress(7, 3)
        assert (await offsets.measure({}))[AUDIT] == GroupProgress(0, 0, is_late=True)


async def test_what_is_finished_behind_a_slow_record_counts_as_finished(
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
        ReliableProducer(settings.kafka) as outbox,
        StageRunner(stage, settings, outbox),
    ):
        await standing(offsets, GroupProgress(50, 48, is_late=True))
        slow.set()
        await standing(offsets, GroupProgress(50, 50, is_late=True))
