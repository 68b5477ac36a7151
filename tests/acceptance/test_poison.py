"""Poison records that aiokafka cannot produce, and other client libraries can.

Each is processed like any other record: records behind it on its partition are processed too.
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
from tests.acceptance.client import PipelineClient
from tests.acceptance.hostile_records import to_json
from tests.pipeline_process import PipelineProcess

PARTITION = 0
BEHIND = {"id": "behind-it", "url": "nothing"}


class BinaryHeaderName(str):
    """A header name that is not valid UTF-8."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        return b"\xff\xfe"


@pytest_asyncio.fixture
async def stages(tmp_path: Path) -> AsyncIterator[PipelineProcess]:
    """A pipeline per test, unaffected by the poison record of another test."""
    async with PipelineProcess(tmp_path) as pipeline:
        await pipeline.start_worker("all")
        yield pipeline


async def publish_without_key(
    pipeline: PipelineProcess, value: bytes | None, headers: Sequence[tuple[str, bytes]]
) -> str:
    """Publish a record without key; return its default id."""
    async with AIOKafkaProducer(bootstrap_servers=pipeline.bootstrap) as producer:
        batch: Any = producer.create_batch()
        batch._builder = _DefaultRecordBatchBuilderPy(2, 0, 0, -1, -1, 0, 100_000)
        now = int(time.time() * 1000)
        batch.append(key=None, value=value, timestamp=now, headers=headers)
        batch.close()
        sent = await producer.send_batch(batch, REQUESTS.kafka_name(), partition=PARTITION)
        return f"requests-{PARTITION}-{(await sent).offset}-{now}"


async def check_partition_continues(pipeline: PipelineProcess) -> None:
    """Assert that the next record is processed and that no stage was restarted."""
    await pipeline.publish_raw(to_json(BEHIND), partition=PARTITION)
    client = PipelineClient(pipeline)
    assert (await client.outcome("behind-it"))["status"] == "rejected"
    metrics = await client.metrics()
    assert metrics["clipmill_stage_bugs_total"] == metrics["clipmill_stage_restarts_total"] == 0


async def test_record_without_key_and_value_is_dead_lettered(stages: PipelineProcess) -> None:
    default_id = await publish_without_key(stages, None, [("x", b"y")])
    await check_partition_continues(stages)
    result = await PipelineClient(stages).outcome(default_id)
    assert result["error"]["technical_details"]["reason"] == "the record has no value"
    (dead_letter,) = await PipelineClient(stages).records(DEADLETTERS)
    assert dead_letter.headers[0] == ("x", b"y")


@pytest.mark.parametrize("value", [to_json({"id": "it", "url": "x"}), b"\xff"], ids=["read", "not"])
async def test_header_name_of_invalid_utf8_blocks_no_record(
    value: bytes, stages: PipelineProcess
) -> None:
    default_id = await publish_without_key(stages, value, [(BinaryHeaderName("x"), b"y")])
    await check_partition_continues(stages)
    name = "it" if value.startswith(b"{") else default_id
    assert (await PipelineClient(stages).outcome(name))["status"] == "rejected"
