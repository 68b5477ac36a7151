"""Invariants of the final state, checked on the topics and on the disk themselves."""

import asyncio
import hashlib
import json
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from streams.client import BATCH_FINISHED
from streams.settings import KafkaSettings
from streams.stage import load_stages
from streams.topics import REQUESTS, RESULTS
from tests.acceptance.client import record_id
from tests.acceptance.workload import WorkloadRecord
from tests.pipeline_process import PipelineProcess
from tests.standin import expected_media


async def read_topic(bootstrap: str, topic: str) -> list[ConsumerRecord[bytes, bytes]]:
    """Return every record of a topic up to its current end offset."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        records: list[ConsumerRecord[bytes, bytes]] = []
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records += batch
        return records
    finally:
        await consumer.stop()


async def expected_statuses(bootstrap: str, records: Sequence[WorkloadRecord]) -> dict[str, str]:
    """Return the expected status by request id; requests without an id get their default id."""
    expected = {name: status for each in records for name, status in each.expected.items()}
    without_id = {each.value for each in records if not each.expected}
    for record in await read_topic(bootstrap, REQUESTS.kafka_name()):
        if record.value in without_id:
            expected[record_id(REQUESTS, record)] = "rejected"
    return expected


async def outcomes(bootstrap: str) -> tuple[dict[str, list[bytes]], dict[str, list[bytes]]]:
    """Return all outcomes by request and summaries by batch, as bytes, duplicates included."""
    found: dict[str, list[bytes]] = defaultdict(list)
    summaries: dict[str, list[bytes]] = defaultdict(list)
    for record in await read_topic(bootstrap, RESULTS.kafka_name()):
        result = json.loads(record.value)
        kind = summaries if result["status"] == BATCH_FINISHED else found
        kind[result["request_id"]].append(record.value)
    return dict(found), dict(summaries)


def check_outcomes(found: Mapping[str, Sequence[bytes]], expected: Mapping[str, str]) -> None:
    """Assert one outcome per request, the expected one; duplicates are identical bytes."""
    assert expected.keys() - found.keys() == set(), "requests without a result"
    assert found.keys() - expected.keys() == set(), "results without a request"
    different = {name: values for name, values in found.items() if len(set(values)) > 1}
    assert different == {}, "requests with several different outcomes"
    statuses = {name: json.loads(values[0])["status"] for name, values in found.items()}
    wrong = {name: values[0] for name, values in found.items() if statuses[name] != expected[name]}
    assert wrong == {}, "outcomes with an unexpected status"


def check_summaries(found: Mapping[str, Sequence[bytes]], expected: Mapping[str, str]) -> None:
    """Assert one summary per batch with the right counts; duplicates are identical bytes."""
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for name, status in expected.items():
        batch_id, _, index = name.rpartition("/")
        if index.isdecimal():
            members[batch_id][status] += 1
    assert found.keys() == members.keys(), "batches without a summary, or summaries of none"
    different = {name: values for name, values in found.items() if len(set(values)) > 1}
    assert different == {}, "batches with several different summaries"
    counts = {name: json.loads(values[0])["counts"] for name, values in found.items()}
    assert {name: +Counter(each) for name, each in counts.items()} == dict(members)


def check_files(data_dir: Path, found: Mapping[str, Sequence[bytes]]) -> int:
    """Assert that every reported file exists and every file is whole; return their number."""
    visible = (data_dir / "files").glob("[!.]*/**/*")
    files = {path for path in visible if path.is_file()}
    digests = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    assert {path: expected_digest(path.name) for path in files} == digests
    for values in found.values():
        for file in json.loads(values[0]).get("files", ()):
            path = Path(unquote(urlsplit(file["uri"]).path))
            assert digests.get(path) == file["sha256"], f"{path} differs from its result"
            assert path.stat().st_size == file["bytes"]
    return len(files)


def expected_digest(name: str) -> str:
    """Return the digest that a published file has by its name."""
    video, format_id, *_ = name.split(".")
    return expected_media(video, format_id).sha256


def check_scratch(data_dir: Path, running: Collection[int]) -> None:
    """Assert that only running workers have temporary directories, and that these are empty."""
    owners = {int(path.name.partition("-")[0]) for path in (data_dir / "tmp").iterdir()}
    assert owners <= set(running)
    assert [str(path) for path in (data_dir / "tmp").glob("*/job-*")] == []


async def wait_until_committed(pipeline: PipelineProcess, seconds: float) -> float:
    """Wait until every stage has committed the end offsets of its topics; return the seconds."""
    started = time.monotonic()
    while lags := await consumer_lag(pipeline):
        assert time.monotonic() - started < seconds, f"offsets stand still: {lags}"
        await asyncio.sleep(0.5)
    return time.monotonic() - started


async def consumer_lag(pipeline: PipelineProcess) -> dict[str, int]:
    """Return the consumer lag in records, by stage and partition, where there is any."""
    ends, prefix = await _end_offsets(pipeline.bootstrap), KafkaSettings().topic_prefix
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    try:
        lags: dict[str, int] = {}
        for stage in load_stages():
            done: Any = await admin.list_consumer_group_offsets(f"{prefix}{stage.name}")
            names = {topic.kafka_name() for topic in stage.sources}
            for place, end in ends.items():
                behind = end - (done[place].offset if place in done else 0)
                if place.topic in names and behind:
                    lags[f"{stage.name} {place.topic}-{place.partition}"] = behind
        return lags
    finally:
        await admin.close()


async def _end_offsets(bootstrap: str) -> dict[TopicPartition, int]:
    names = {topic.kafka_name() for stage in load_stages() for topic in stage.sources}
    consumer = AIOKafkaConsumer(*names, bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        ends: dict[TopicPartition, int] = await consumer.end_offsets(consumer.assignment())
        return ends
    finally:
        await consumer.stop()
