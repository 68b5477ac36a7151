"""The examples and the statements of docs/clients.md, each with a client on another library."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from streams.topics import REQUESTS, RESULTS
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.java_tools import JavaTools, run
from tests.conftest import NetworkGuard
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES = Path(__file__).parents[2] / "examples"
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]


def small(serial: int) -> str:
    return page(video_id("kilobytes", param=16, serial=serial))


def only_result(output: str) -> dict[str, Any]:
    (line,) = [each for each in output.splitlines() if each.startswith("{")]
    result: dict[str, Any] = json.loads(line)
    return result


@pytest.fixture(scope="module")
def java(network_guard: NetworkGuard, tmp_path_factory: pytest.TempPathFactory) -> JavaTools:
    with network_guard.disarmed():
        return JavaTools(tmp_path_factory.mktemp("java"))


@pytest.mark.parametrize("codec", CODECS)
async def test_librdkafka_example(codec: str, pipeline: PipelineProcess) -> None:
    command = (sys.executable, str(EXAMPLES / "librdkafka_client.py"), pipeline.bootstrap)
    result = only_result(await run([*command, "--codec", codec, small(CODECS.index(codec))]))
    assert (result["status"], result["url"]) == ("completed", small(CODECS.index(codec)))


async def test_librdkafka_example_in_a_transaction(pipeline: PipelineProcess) -> None:
    command = (sys.executable, str(EXAMPLES / "librdkafka_client.py"), pipeline.bootstrap)
    output = await run([*command, "--transactional", small(10), small(11)])
    results = [json.loads(line) for line in output.splitlines()]
    assert {each["url"]: each["status"] for each in results} == {
        small(10): "completed",
        small(11): "completed",
    }


@pytest.mark.parametrize("codec", CODECS[1:])
async def test_aiokafka_producer_and_consumer_examples(
    codec: str, pipeline: PipelineProcess, client: PipelineClient
) -> None:
    url = small(60 + CODECS.index(codec))
    command = (sys.executable, str(EXAMPLES / "producer.py"), pipeline.bootstrap)
    published = (await run([*command, "--codec", codec, "--action", "info", url])).split()
    outcomes = [await client.outcome(each) for each in published]
    assert [each["status"] for each in outcomes] == ["completed"]
    # A new group begins with the oldest result.
    count = len(await client.records(RESULTS))
    command = (sys.executable, str(EXAMPLES / "consumer.py"), pipeline.bootstrap)
    output = await run([*command, "--group", f"of-{codec}", "--count", str(count)])
    consumed = {each["request_id"]: each["url"] for each in map(json.loads, output.splitlines())}
    assert consumed[published[0]] == url


async def test_consumer_example_continues_after_its_last_commit(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    urls = [small(70), small(71)]
    command = [sys.executable, str(EXAMPLES / "consumer.py"), pipeline.bootstrap]
    command += ["--group", "two-runs", "--count"]
    await client.request(urls[0], action="info")
    await run([*command, str(len(await client.records(RESULTS)))])
    await client.request(urls[1], action="info")
    assert only_result(await run([*command, "1"]))["url"] == urls[1]


async def test_java_example(java: JavaTools, pipeline: PipelineProcess) -> None:
    await java.compile(EXAMPLES / "ClipmillClient.java")
    for codec in CODECS:
        url = small(20 + CODECS.index(codec))
        result = only_result(
            await run([*java.java("ClipmillClient"), pipeline.bootstrap, url, codec])
        )
        assert (result["status"], result["url"]) == ("completed", url)


async def test_console_example(java: JavaTools, pipeline: PipelineProcess) -> None:
    command = (str(EXAMPLES / "console.sh"), pipeline.bootstrap, small(30), "zstd")
    result = only_result(await run(command, environment=java.environment))
    assert (result["status"], result["url"]) == ("completed", small(30))


class RejectedError(Exception):
    """The broker rejected a record."""


def produce(pipeline: PipelineProcess, body: bytes, **record: Any) -> None:
    """Publish any record with librdkafka."""
    producer = Producer({"bootstrap.servers": pipeline.bootstrap, "message.max.bytes": 2_000_000})
    errors: list[str] = []
    producer.produce(
        REQUESTS.kafka_name(),
        body,
        on_delivery=lambda error, _: errors.append(error.name() if error else ""),
        **record,
    )
    producer.flush(30)
    if errors != [""]:
        raise RejectedError(*errors)


def request(name: str, serial: int) -> bytes:
    return json.dumps({"id": name, "url": small(serial), "action": "info"}).encode()


RECORDS: dict[str, dict[str, Any]] = {
    "a key": {"key": b"any \xff key"},
    "a partition": {"partition": 3},
    "foreign headers": {
        "headers": [("x", None), ("\N{SNOWMAN}", b"\xff"), ("content-type", b"text")]
    },
    "a CloudEvent": {"headers": [("ce_specversion", "1.0"), ("ce_id", "e1"), ("ce_type", "mine")]},
}


@pytest.mark.parametrize("fields", RECORDS.values(), ids=RECORDS)
async def test_any_key_partition_and_headers_are_accepted(
    fields: dict[str, Any], pipeline: PipelineProcess, client: PipelineClient
) -> None:
    name = f"record-{list(RECORDS.values()).index(fields)}"
    produce(pipeline, request(name, 50), **fields)
    assert (await client.outcome(name))["status"] == "completed"


async def test_past_record_timestamp_is_kept_and_future_one_replaced(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    now = datetime.now(UTC)
    hour_ago, soon = now - timedelta(hours=1), now + timedelta(minutes=50)
    for name, moment in {"past": hour_ago, "future": soon}.items():
        produce(pipeline, request(name, 51), timestamp=milliseconds(moment))
    found = {
        name: datetime.fromisoformat((await client.outcome(name))["received_at"])
        for name in ("past", "future")
    }
    assert abs(found["past"] - hour_ago) < timedelta(seconds=1)
    assert timedelta(seconds=-1) < found["future"] - now < timedelta(minutes=5)


async def test_broker_rejects_a_timestamp_a_day_ahead(pipeline: PipelineProcess) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    with pytest.raises(RejectedError, match="INVALID_TIMESTAMP"):
        produce(pipeline, request("tomorrow", 51), timestamp=milliseconds(tomorrow))


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


async def test_largest_request_completes_and_a_larger_one_is_rejected(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    for name, size in {"largest": 1_000_000, "larger": 1_000_001}.items():
        produce(pipeline, request(name, 52).ljust(size))
    assert (await client.outcome("largest"))["status"] == "completed"
    assert (await client.outcome("larger"))["error"]["error_type"] == "request.too_large"


@pytest.mark.parametrize("codec", CODECS)
async def test_console_producer_with_every_codec(
    codec: str, java: JavaTools, pipeline: PipelineProcess, client: PipelineClient
) -> None:
    request = {"id": f"console-{codec}", "url": small(40 + CODECS.index(codec)), "action": "info"}
    await run(
        [
            *("kafka-console-producer.sh", "--bootstrap-server", pipeline.bootstrap),
            *("--topic", REQUESTS.kafka_name(), "--compression-codec", codec),
        ],
        stdin=json.dumps(request).encode() + b"\n",
        environment=java.environment,
    )
    assert (await client.outcome(f"console-{codec}"))["status"] == "completed"
