"""Batches that cannot be decoded, on each topic that is read: each costs itself and nothing else.

No client can write such batches; damaged disks and other versions of Kafka can. So they are changed
in the segments of the broker while it is stopped.
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
from tests.acceptance.desk import Desk, get, page
from tests.acceptance.poisoned_segments import batches, overwrite, segment_of
from tests.house import House
from tests.record_batch_bytes import HEADER_BYTES, edited, flipped, with_records

STAGE_TOPICS = [REQUESTS, VALIDATED, EXTRACTED, SELECTED, ERRORS, ATTEMPTS, AUDIT, COMMANDS]
STAGE_TOPICS += list(DELAYS)
CHANGELOGS = [changelog_topic(each.name, table) for each in load_stages() for table in each.tables]
READ_BY_WORKERS = [*STAGE_TOPICS, SIGNALS, *CHANGELOGS]
READ_BY_CLIENTS = [RESULTS, PROGRESS]


def _noise(data: bytes) -> bytes:
    return with_records(data, bytes(range(200, 256)) * (len(data) // 56 + 1), 0)[: len(data)]


def _same_size(data: bytes, codec: int) -> bytes:
    """Return a batch that claims a codec for records that are not compressed."""
    return edited(data, attributes=codec)


KINDS: dict[str, Callable[[bytes], bytes]] = {
    "wrong CRC": lambda data: flipped(data, HEADER_BYTES + 3),
    "unknown compression codec 6": lambda data: _same_size(data, 6),
    "damaged zstd data": lambda data: _same_size(data, 4),
    "unknown format version (magic) 3": lambda data: edited(data, magic=3),
    "damaged records": lambda data: edited(data, count=2_000),
}


class Poison(NamedTuple):
    topic: str
    kafka_name: str
    offset: int
    reason: str
    data: bytes


async def write_batches(house: House) -> list[tuple[str, str, int, str]]:
    """Write a batch for each kind to each topic; return logical and Kafka name, offset and kind."""
    written = []
    async with AIOKafkaProducer(bootstrap_servers=house.bootstrap) as producer:
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
                # Logical for sources of stages, the name on Kafka for a changelog.
                logical = name if topic in CHANGELOGS else topic.name
                written.append((logical, name, sent.offset, kind))
    return written


def poison(kafka_dir: Path, written: list[tuple[str, str, int, str]]) -> list[Poison]:
    """Change the batches on the stopped broker's disk."""
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
        poisons.append(Poison(logical, name, offset, kind, changed))
    return poisons


async def dead_letters(desk: Desk) -> dict[tuple[str, int], tuple[str, bytes | None]]:
    """Return reason and bytes of each dead letter, by the place that it comes from."""
    found = {}
    for record in await desk.records(DEADLETTERS):
        _, facts = split_headers(record.headers)
        assert facts is not None
        found[facts.origin_topic, facts.origin_offset] = facts.reason, record.value
    return found


async def test_undecodable_batches_on_each_topic_cost_nothing_but_themselves(
    tmp_path: Path,
) -> None:
    async with House(tmp_path) as house:
        desk = Desk(house)
        worker = await house.start_worker("all")
        first = await desk.ask(page("7000000000000000001"))
        assert first["status"] == "completed"
        await asyncio.to_thread(worker.terminate)
        written = await write_batches(house)
        async with house.broker_stopped():
            poisons = poison(tmp_path / "kafka", written)
        assert len(poisons) >= 30

        worker = await house.start_worker("all")
        ids = [f"after-{number}" for number in range(12)]
        for number, request_id in enumerate(ids):
            body = {
                "id": request_id,
                "url": page(f"70000000000000001{number:02}"),
                "action": "info",
            }
            await house.publish_raw(json.dumps(body).encode(), partition=number % 4)
        for request_id in ids:
            assert (await desk.outcome(request_id, 60))["status"] == "completed"

        ours = [each for each in poisons if each.topic not in {t.name for t in READ_BY_CLIENTS}]
        letters = await dead_letters(desk)
        for each in ours:
            reason, value = letters[each.topic, each.offset]
            assert each.reason in reason, each
            assert value == each.data

        metrics = await desk.metrics()
        assert metrics["clipmill_undecodable_batches_total"] == len(ours)
        assert metrics["clipmill_stage_restarts_total"] == 0
        health = json.loads(await get(f"{worker.ready['http']}/health/ready"))
        assert health["status"] == "ready"
        warned = json.dumps(health["warnings"])
        assert all(each.kafka_name in warned for each in ours), warned

        code, output, _ = await house.clipmill("status", ids[0])
        assert (code, "completed" in output) == (0, True), "the audit topic can be read by clients"
        code, output, _ = await house.clipmill("deadletters", "list")
        assert code == 0
        assert f" of {len(ours)}" in output
