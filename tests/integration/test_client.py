import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
import pytest_asyncio

from schemas.codec import encode
from schemas.commands import (
    Cancel,
    Command,
    OpenBreaker,
    RecordOrder,
    Refresh,
    ResetBreaker,
    ResumeStage,
    Retry,
)
from streams.client import Client, wait_for
from streams.cluster.connection import ClusterUnavailableError
from streams.settings import KafkaSettings
from streams.topics import AUDIT, COMMANDS, PROGRESS, REQUESTS, RESULTS, Topic
from tests.integration.kafka_client import closed_port, create_topics, produce, read

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def publish(kafka: KafkaSettings, topic: Topic, messages: Sequence[dict[str, Any]]) -> None:
    await produce(
        kafka,
        topic,
        [(m["request_id"].encode(), json.dumps(m).encode(), (), None) for m in messages],
    )


def result(request_id: str) -> dict[str, Any]:
    return {"request_id": request_id, "status": "completed"}


async def results(client: Client, ids: set[str], seconds: float = 10) -> list[str]:
    return [found["request_id"] async for found in wait_for(client, ids, seconds)]


@pytest_asyncio.fixture(loop_scope="session")
async def topics(kafka: KafkaSettings) -> None:
    await create_topics(kafka, RESULTS, PROGRESS, REQUESTS, AUDIT)


@pytest.mark.usefixtures("topics")
async def test_requests_are_published(kafka: KafkaSettings) -> None:
    bodies = [encode({"id": str(number), "url": "u"}) for number in range(100)]
    async with Client(kafka) as client:
        await client.publish(bodies)
    written = await read(kafka, REQUESTS, lambda records: len(records) >= 100)
    assert sorted(record.value for record in written) == sorted(bodies)
    assert json.loads(written[0].value).keys() == {"id", "url"}


COMMAND_KEYS: list[tuple[Command, bytes]] = [
    (Cancel(id="c1", request_id="r1", by="ann"), b"r1"),
    (Retry(id="c2", request_id="b/1"), b"b/1"),
    (Refresh(video="tiktok:1"), b"tiktok:1"),
    (OpenBreaker(breaker="a:extract:b"), b"a:extract:b"),
    (ResetBreaker(breaker="a:extract:b"), b"a:extract:b"),
    (ResumeStage(stage="download"), b"download"),
    (RecordOrder(order="resolve", subject="0-7-1"), b"0-7-1"),
]


@pytest.mark.usefixtures("topics")
async def test_commands_are_keyed_by_their_target(kafka: KafkaSettings) -> None:
    async with Client(kafka) as client:
        with pytest.raises(ClusterUnavailableError, match="clipmill topics apply"):
            await client.send_command(COMMAND_KEYS[0][0])
        await create_topics(kafka, COMMANDS)
        for command, _ in COMMAND_KEYS:
            await client.send_command(command)
    written = await read(kafka, COMMANDS, lambda records: len(records) >= len(COMMAND_KEYS))
    found = sorted((each.value, each.key) for each in written)
    assert found == sorted((encode(command), key) for command, key in COMMAND_KEYS)


@pytest.mark.usefixtures("topics")
async def test_results_are_read_from_the_opening_of_the_client_on(kafka: KafkaSettings) -> None:
    await publish(kafka, RESULTS, [result("before")])
    async with Client(kafka) as client:
        await publish(kafka, RESULTS, [result("r1"), result("stranger"), result("r2")])
        await asyncio.sleep(0.5)
        assert sorted(await results(client, {"r1", "r2"})) == ["r1", "r2"]
        with pytest.raises(TimeoutError):
            await results(client, {"before"}, 0.5)


@pytest.mark.usefixtures("topics")
async def test_wait_times_out_after_yielding_arrived_results(kafka: KafkaSettings) -> None:
    started = time.monotonic()
    async with Client(kafka) as client:
        await publish(kafka, RESULTS, [result("r1")])
        waiting = wait_for(client, {"r1", "never"}, 1.0)
        assert (await anext(waiting))["request_id"] == "r1"
        with pytest.raises(TimeoutError):
            await anext(waiting)
    assert time.monotonic() - started < 4


@pytest.mark.usefixtures("topics")
async def test_duplicate_results_are_yielded_once(kafka: KafkaSettings) -> None:
    async with Client(kafka) as client:
        await publish(kafka, RESULTS, [result("r1"), result("r1"), result("r2")])
        assert sorted(await results(client, {"r1", "r2"})) == ["r1", "r2"]


def summary(batch_id: str, size: int, undecided: int = 0) -> dict[str, Any]:
    counts = {"completed": size - undecided, "undecided": undecided}
    return {
        "request_id": batch_id,
        "status": "batch_finished",
        "batch_size": size,
        "counts": counts,
    }


@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("first", [True, False], ids=["summary first", "summary last"])
async def test_wait_for_a_batch_includes_all_its_members(kafka: KafkaSettings, first: bool) -> None:
    messages = [result("b/0"), result("b/1")]
    async with Client(kafka) as client:
        end = summary("b", 2)
        await publish(kafka, RESULTS, [end, *messages] if first else [*messages, end])
        assert sorted(await results(client, {"b"})) == ["b", "b/0", "b/1"]


@pytest.mark.usefixtures("topics")
async def test_batch_with_undecided_members_ends_with_its_summary(kafka: KafkaSettings) -> None:
    async with Client(kafka) as client:
        await publish(kafka, RESULTS, [result("b/0"), summary("b", 2, undecided=1)])
        assert "b" in await results(client, {"b"})


@pytest.mark.usefixtures("topics")
async def test_progress_is_reported_while_waiting(kafka: KafkaSettings) -> None:
    seen: list[int] = []
    async with Client(kafka) as client:
        await publish(kafka, PROGRESS, [{"request_id": r, "bytes": 5} for r in ("r1", "other")])
        asyncio.get_running_loop().call_later(
            0.5, lambda: tasks.append(asyncio.create_task(publish(kafka, RESULTS, [result("r1")])))
        )
        tasks: list[asyncio.Task[None]] = []
        waiting = wait_for(client, {"r1"}, 10, lambda progress: seen.append(progress["bytes"]))
        assert [each["request_id"] async for each in waiting] == ["r1"]
        await asyncio.gather(*tasks)
    assert seen == [5]


@pytest.mark.usefixtures("topics")
async def test_undecodable_records_are_skipped(kafka: KafkaSettings) -> None:
    garbage = [b"\xff\xfe", b"not JSON", b"[1]", b"null", b"{}", None]
    async with Client(kafka) as client:
        for topic in (RESULTS, PROGRESS):
            await produce(kafka, topic, [(b"k", value, (), 0) for value in garbage])
        await publish(kafka, RESULTS, [result("r1")])
        assert await results(client, {"r1"}) == ["r1"]


async def test_missing_topics_are_named_with_the_command_to_run(kafka: KafkaSettings) -> None:
    with pytest.raises(ClusterUnavailableError, match="clipmill topics apply"):
        async with Client(kafka):
            pass


async def test_unreachable_broker_is_named_immediately() -> None:
    kafka = KafkaSettings(bootstrap=closed_port())
    started = time.monotonic()
    with pytest.raises(ClusterUnavailableError, match=f"no broker answers at {kafka.bootstrap}"):
        async with Client(kafka):
            pass
    assert time.monotonic() - started < 5
