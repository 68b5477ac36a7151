"""Undecodable batches on each consumed topic: each becomes a dead letter and affects nothing else.

No client can produce such batches; damaged disks and other versions of Kafka can. Therefore they
are written into the broker's segments while it is stopped.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from aiokafka import AIOKafkaProducer

from streams.deadletters.headers import split_headers
from streams.stage import load_stages
from streams.topics import (
    ATTEMPTS,
    AUDIT,
    COMMANDS,
    DEADLETTERS,
    DELAYS,
    ERRORS,
    EXTRACTED,
    PROGRESS,
    REQUESTS,
    RESULTS,
    SELECTED,
    SIGNALS,
    VALIDATED,
    changelog_topic,
)
from tests.acceptance.client import PipelineClient, get, page
from tests.acceptance.poisoned_segments import batches, overwrite, segment_of
from tests.pipeline_process import PipelineProcess
from tests.record_batch_bytes import HEADER_BYTES, edited, flipped, with_records

STAGE_TOPICS = [REQUESTS, VALIDATED, EXTRACTED, SELECTED, ERRORS, ATTEMPTS, AUDIT, COMMANDS]
STAGE_TOPICS += list(DELAYS)
CHANGELOGS = [changelog_topic(each.name, table) for each in load_stages() for table in each.tables]
READ_BY_WORKERS = [*STAGE_TOPICS, SIGNALS, *CHANGELOGS]
READ_BY_CLIENTS = [RESULTS, PROGRESS]


def _random_records(data: bytes) -> bytes:
    return with_records(data, bytes(range(200, 256)) * (len(data) // 56 + 1), 0)[: len(data)]


def _same_size(data: bytes, codec: int) -> bytes:
    """Return a batch that declares a codec for uncompressed records."""
    return edited(data, attributes=codec)


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "wrong CRC": lambda data: flipped(data, HEADER_BYTES + 3),
    "unknown compression codec 6": lambda data: _same_size(data, 6),
    "damaged zstd data": lambda data: _same_size(data, 4),
    "unknown format version (magic) 3": lambda data: edited(data, magic=3),
    "damaged records": lambda data: edited(data, count=2_000),
}


class PoisonBatch(NamedTuple):
    topic: str
    kafka_name: str
    offset: int
    reason: str
    data: bytes


async def publish_batches(pipeline: PipelineProcess) -> list[tuple[str, str, int, str]]:
    """Publish a batch per kind and topic; return logical and Kafka name, offset and kind."""
    written = []
    async with AIOKafkaProducer(bootstrap_servers=pipeline.bootstrap) as producer:
        for topic in (*READ_BY_WORKERS, *READ_BY_CLIENTS):
            for kind in KINDS:
                batch = producer.create_batch()
                for number in range(3):
                    batch.append(
                        key=b"k%d" % number,
                        value=b'{"request_id": "n%d", "status": "x"}' % number,
                        timestamp=None,
                    )
                batch.close()
                name = topic.kafka_name()
                sent = await (await producer.send_batch(batch, name, partition=0))
                # The logical name for sources of stages, the Kafka name for changelogs.
                logical = name if topic in CHANGELOGS else topic.name
                written.append((logical, name, sent.offset, kind))
    return written


def corrupt_batches(kafka_dir: Path, written: list[tuple[str, str, int, str]]) -> list[PoisonBatch]:
    """Corrupt the batches in the stopped broker's segments."""
    poisons = []
    for logical, name, offset, kind in written:
        segment = segment_of(kafka_dir, name, 0)
        [(position, data)] = [
            (position, data)
            for position, data in batches(segment)
            if int.from_bytes(data[:8], "big") == offset
        ]
        changed = KINDS[kind](data)
        assert len(changed) == len(data)
        overwrite(segment, position, changed)
        poisons.append(PoisonBatch(logical, name, offset, kind, changed))
    return poisons


async def dead_letters(client: PipelineClient) -> dict[tuple[str, int], tuple[str, bytes | None]]:
    """Return reason and value of each dead letter by its original topic and offset."""
    found = {}
    for record in await client.records(DEADLETTERS):
        _, facts = split_headers(record.headers)
        assert facts is not None
        found[facts.origin_topic, facts.origin_offset] = facts.reason, record.value
    return found


async def test_undecodable_batches_of_each_topic_are_dead_lettered_without_other_effects(
    tmp_path: Path,
) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        client = PipelineClient(pipeline)
        worker = await pipeline.start_worker("all")
        first = await client.request(page("7000000000000000001"))
        assert first["status"] == "completed"
        await asyncio.to_thread(worker.terminate)
        written = await publish_batches(pipeline)
        async with pipeline.broker_stopped():
            poisons = corrupt_batches(tmp_path / "kafka", written)
        assert len(poisons) >= 30

        worker = await pipeline.start_worker("all")
        ids = [f"after-{number}" for number in range(12)]
        for number, request_id in enumerate(ids):
            body = {
                "id": request_id,
                "url": page(f"70000000000000001{number:02}"),
                "action": "info",
            }
            await pipeline.publish_raw(json.dumps(body).encode(), partition=number % 4)
        for request_id in ids:
            assert (await client.outcome(request_id, 60))["status"] == "completed"

        expected = [each for each in poisons if each.topic not in {t.name for t in READ_BY_CLIENTS}]
        found = await dead_letters(client)
        for each in expected:
            reason, value = found[each.topic, each.offset]
            assert each.reason in reason, each
            assert value == each.data

        metrics = await client.metrics()
        assert metrics["clipmill_undecodable_batches_total"] == len(expected)
        assert metrics["clipmill_stage_restarts_total"] == 0
        health = json.loads(await get(f"{worker.ready['http']}/health/ready"))
        assert health["status"] == "ready"
        warnings = json.dumps(health["warnings"])
        assert all(each.kafka_name in warnings for each in expected), warnings

        code, output, _ = await pipeline.clipmill("status", ids[0])
        assert (code, "completed" in output) == (0, True), "the audit topic can be read by clients"
        code, output, _ = await pipeline.clipmill("deadletters", "list")
        assert code == 0
        assert f" of {len(expected)}" in output
