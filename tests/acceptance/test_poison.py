"""Records that this test's own client library cannot even write, and that others can.

Each must be dealt with like any other: those behind it on the same partition are done.
"""

import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiokafka import AIOKafkaProducer
from aiokafka.record.default_records import _DefaultRecordBatchBuilderPy

from streams.topics import DEADLETTERS, REQUESTS
from tests.acceptance.desk import Desk
from tests.acceptance.hostile_records import written
from tests.house import House

PARTITION = 0
BEHIND = {"id": "behind-it", "url": "nothing"}


class NameOfBytes(str):
    """The name of a header that is no text."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


@pytest_asyncio.fixture
async def stages(tmp_path: Path) -> AsyncIterator[House]:
    """A house in which nothing is left of a stage that another record stopped."""
    async with House(tmp_path) as house:
        await house.start_worker("all")
        yield house


async def write(house: House, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> str:
    """Write a record without key; return its id."""
    async with AIOKafkaProducer(bootstrap_servers=house.bootstrap) as producer:
        batch: Any = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 100_000)
        now = int(time.time() * 1000)
        batch.append(key=None, value=value, timestamp=now, headers=headers)
        batch.close()
        sent = await producer.send_batch(batch, REQUESTS.kafka_name(), partition=PARTITION)
        return f"requests-{PARTITION}-{(await sent).offset}-{now}"


async def is_dealt_with(house: House) -> None:
    """Those behind are done, and no stage had to be started again."""
    await house.publish_raw(written(BEHIND), partition=PARTITION)
    desk = Desk(house)
    assert (await desk.outcome("behind-it"))["status"] == "rejected"
    metrics = await desk.metrics()
    assert metrics["clipmill_stage_bugs_total"] == metrics["clipmill_stage_restarts_total"] == 0


async def test_neither_key_nor_value(stages: House) -> None:
    place = await write(stages, None, [("x", b"y")])
    await is_dealt_with(stages)
    result = await Desk(stages).outcome(place)
    assert result["error"]["technical_details"]["reason"] == "the record has no value"
    (letter,) = await Desk(stages).records(DEADLETTERS)
    assert letter.headers[0] == ("x", b"y")


@pytest.mark.parametrize("value", [written({"id": "it", "url": "x"}), b"\xff"], ids=["read", "not"])
async def test_a_header_whose_name_is_no_text(value: bytes, stages: House) -> None:
    place = await write(stages, value, [(NameOfBytes("x"), b"y")])
    await is_dealt_with(stages)
    name = "it" if value.startswith(b"{") else place
    assert (await Desk(stages).outcome(name))["status"] == "rejected"
