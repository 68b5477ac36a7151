"""Shared state on a real broker: complete when opened, then updated at once in every process."""

import asyncio
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from streams.broker.broker import EmbeddedBroker
from streams.client import read_signals
from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.shared_state import SharedState, open_shared_state
from streams.settings import KafkaSettings
from streams.topics import SIGNALS
from tests.integration.kafka_client import create_topics, produce, wait_until

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOON_SECONDS = 1.0

OTHER_PROCESS = """
import asyncio, sys
from streams.settings import KafkaSettings
from streams.cluster.shared_state import open_shared_state

async def main():
    kafka = KafkaSettings(bootstrap=sys.argv[1], topic_prefix=sys.argv[2])
    async with open_shared_state(kafka) as signals:
        print(signals.get("a").decode(), flush=True)
        changed = asyncio.Event()
        with signals.watch("a", callback=changed.set):
            await changed.wait()
        print(signals.get("a").decode(), flush=True)

asyncio.run(main())
"""


def both_have(first: SharedState, second: SharedState, value: bytes | None) -> bool:
    return first.get("a") == second.get("a") == value


async def publish(kafka: KafkaSettings, key: str, value: bytes | None) -> None:
    await produce(kafka, SIGNALS, [(key.encode(), value, (), 0)])


@pytest_asyncio.fixture(loop_scope="session")
async def topic(kafka: KafkaSettings) -> None:
    await create_topics(kafka, SIGNALS, partitions=1)


@pytest.mark.usefixtures("topic")
async def test_state_is_complete_when_opened(kafka: KafkaSettings) -> None:
    records = [(f"k{n % 500}".encode(), b"%d" % n, (), 0) for n in range(3_000)]
    await produce(kafka, SIGNALS, [*records, (b"k7", None, (), 0)])
    async with open_shared_state(kafka) as shared_state:
        assert shared_state.get("k7") is None
        assert dict(shared_state.items("k")) == {
            f"k{n}": b"%d" % (2_500 + n) for n in range(500) if n != 7
        }


@pytest.mark.usefixtures("topic")
async def test_empty_topic_is_complete(kafka: KafkaSettings) -> None:
    async with asyncio.timeout(10), open_shared_state(kafka) as shared_state:
        assert shared_state.items("") == []


@pytest.mark.usefixtures("topic")
async def test_changes_and_tombstones_arrive_within_a_second(kafka: KafkaSettings) -> None:
    async with open_shared_state(kafka) as first, open_shared_state(kafka) as second:
        for value in (b"1", b"2", None):
            await publish(kafka, "a", value)
            written = time.monotonic()
            await wait_until(partial(both_have, first, second, value))
            assert time.monotonic() - written < SOON_SECONDS


@pytest.mark.usefixtures("topic")
async def test_changes_arrive_in_another_process(kafka: KafkaSettings) -> None:
    await publish(kafka, "a", b"before")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OTHER_PROCESS, kafka.bootstrap, kafka.topic_prefix),
        stdout=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"before\n"
        await publish(kafka, "a", b"after")
        written = time.monotonic()
        assert await process.stdout.readline() == b"after\n"
        assert time.monotonic() - written < SOON_SECONDS
        assert await process.wait() == 0


@pytest.mark.usefixtures("topic")
async def test_state_can_be_read_once(kafka: KafkaSettings) -> None:
    for key, value in (("breaker/a", b"1"), ("breaker/b", b"2"), ("cancel/r1", b"3")):
        await publish(kafka, key, value)
    assert await read_signals(kafka, "breaker/") == {"breaker/a": b"1", "breaker/b": b"2"}


async def test_missing_topic_is_named_with_the_command_to_run(kafka: KafkaSettings) -> None:
    with pytest.raises(ClusterUnavailableError, match="clipmill topics apply"):
        await read_signals(kafka, "breaker/")


async def restart(broker: EmbeddedBroker) -> None:
    old = broker.pid
    task = asyncio.create_task(broker.supervise())
    try:
        os.kill(old, signal.SIGKILL)
        await wait_until(lambda: broker.pid != old, seconds=30)
        await wait_until_listening(broker)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def wait_until_listening(broker: EmbeddedBroker) -> None:
    host, _, port = broker.bootstrap.rpartition(":")
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return


async def test_shared_state_survives_a_broker_restart(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap)
        await create_topics(kafka, SIGNALS, partitions=1)
        await publish(kafka, "a", b"before")
        async with open_shared_state(kafka) as shared_state:
            await restart(broker)
            assert shared_state.get("a") == b"before"
            await publish(kafka, "a", b"after")
            await wait_until(lambda: shared_state.get("a") == b"after", seconds=30)
