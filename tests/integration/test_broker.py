"""The embedded broker as a real process: every test starts Kafka itself, on loopback."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from streams.broker.broker import BrokerError, EmbeddedBroker
from streams.broker.jars import default_cache_dir, ensure_jars
from streams.broker.pinning import JarError
from streams.broker.server import RestartPolicy
from streams.broker.state import PortTakenError

TOPIC = "things"
PARENT = """
import asyncio, sys
from pathlib import Path
from streams.broker.broker import EmbeddedBroker

async def main():
    async with EmbeddedBroker(Path(sys.argv[1])) as broker:
        print(broker.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


@asynccontextmanager
async def supervised(broker: EmbeddedBroker) -> AsyncIterator[asyncio.Task[None]]:
    async with broker:
        task = asyncio.create_task(broker.supervise())
        yield task
    with suppress(BrokerError):
        await asyncio.wait_for(task, 5)


async def create_topic(broker: EmbeddedBroker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(TOPIC, num_partitions=2, replication_factor=1)])
    await admin.close()


async def produce(broker: EmbeddedBroker, values: list[bytes]) -> None:
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all") as producer:
        await asyncio.gather(*[await producer.send(TOPIC, value) for value in values])


async def consume(broker: EmbeddedBroker, count: int) -> set[bytes]:
    """Consume records that the group `readers` has not committed yet, and commit them."""
    consumer = AIOKafkaConsumer(
        TOPIC,
        bootstrap_servers=broker.bootstrap,
        group_id="readers",
        auto_offset_reset="earliest",
        session_timeout_ms=6000,
        enable_auto_commit=False,
    )
    async with consumer:
        async with asyncio.timeout(20):
            values = {(await consumer.getone()).value for _ in range(count)}
        await consumer.commit()
    return values


async def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - other processes set no events
            await asyncio.sleep(0.01)


async def wait_until_restarted(broker: EmbeddedBroker, old: int) -> float:
    """Wait until another process answers; return the seconds."""
    started = time.monotonic()
    await wait_until(lambda: broker.pid != old, 10)
    async with asyncio.timeout(30):
        while True:
            if await is_answering(broker):
                return time.monotonic() - started
            await asyncio.sleep(0.05)


async def is_answering(broker: EmbeddedBroker) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap, request_timeout_ms=1000)
    try:
        await admin.start()
        return bool((await admin.describe_cluster())["brokers"])
    except Exception:  # noqa: BLE001 - any failure means not ready
        return False
    finally:
        await admin.close()


def has_ended(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_restart_keeps_data_offsets_and_port(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        first = broker.bootstrap
        await create_topic(broker)
        await produce(broker, [b"one", b"two"])
        assert await consume(broker, 2) == {b"one", b"two"}
        await produce(broker, [b"three"])
    async with EmbeddedBroker(tmp_path) as again:
        assert again.bootstrap == first
        assert await consume(again, 1) == {b"three"}


async def test_fresh_broker_is_small_empty_and_on_loopback_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        process = psutil.Process(broker.pid)
        assert process.memory_info().rss < 350 << 20
        listening = [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        await admin.describe_topics(["unheard-of"])
        assert await admin.list_topics() == []
        await admin.close()


async def test_killed_broker_is_restarted_with_all_acknowledged_records(tmp_path: Path) -> None:
    values = [b"%d" % number for number in range(2000)]
    broker = EmbeddedBroker(tmp_path)
    async with supervised(broker) as task:
        address, old = broker.bootstrap, broker.pid
        await create_topic(broker)
        await produce(broker, values)
        os.kill(old, signal.SIGKILL)
        seconds = await wait_until_restarted(broker, old)
        print(f"restart after kill -9: {seconds:.2f} s")
        assert broker.bootstrap == address
        assert await consume(broker, len(values)) == set(values)
        assert not task.done()
    assert task.exception() is None


async def test_broker_ends_with_its_parent_and_a_new_one_can_start(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(tmp_path)), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await asyncio.wait_for(parent.stdout.readline(), 60))
    assert psutil.Process(pid).name() == "java"
    parent.kill()
    await wait_until(lambda: has_ended(pid), 2)
    await parent.wait()
    async with EmbeddedBroker(tmp_path) as broker:
        assert await is_answering(broker)


async def test_second_broker_on_the_same_directory_is_refused(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        with pytest.raises(
            BrokerError, match=rf"started by process {os.getpid()}\) uses {tmp_path}"
        ):
            await EmbeddedBroker(tmp_path).start()
        with pytest.raises(BrokerError, match="is already started"):
            await broker.start()
        assert await is_answering(broker)


async def test_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} on 127.0.0.1 is in use"):
            await EmbeddedBroker(tmp_path, port=port).start()


async def test_tampered_jar_is_refused(tmp_path: Path) -> None:
    folder = ensure_jars(default_cache_dir())[0].parent
    await asyncio.to_thread(shutil.copytree, folder, tmp_path / "cache" / "kafka-jars")
    jar = tmp_path / "cache" / "kafka-jars" / "kafka-clients-4.3.1.jar"
    content = bytearray(await asyncio.to_thread(jar.read_bytes))
    content[1000] ^= 1
    await asyncio.to_thread(jar.write_bytes, content)
    with pytest.raises(JarError, match=r"kafka-clients-4\.3\.1\.jar is not the file"):
        await EmbeddedBroker(tmp_path / "data", cache_dir=tmp_path / "cache").start()


async def test_failed_start_quotes_the_log(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=7\n")
    with pytest.raises(BrokerError, match=r"ended with code 1 while it started(?s:.*)node.id"):
        await EmbeddedBroker(tmp_path).start()


async def test_failed_formatting_quotes_the_log(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("in the way")
    with pytest.raises(BrokerError, match=r"could not format(?s:.*)Exception"):
        await EmbeddedBroker(tmp_path).start()


async def test_repeatedly_failing_broker_is_given_up_with_its_log(tmp_path: Path) -> None:
    policy = RestartPolicy(max_early_exits=2, first_delay_seconds=0.01)
    broker = EmbeddedBroker(tmp_path, restarts=policy)
    async with supervised(broker) as task:
        (tmp_path / "log" / "meta.properties").unlink()
        os.kill(broker.pid, signal.SIGKILL)
        with pytest.raises(BrokerError, match=r"2 times in a row(?s:.*)meta\.properties"):
            await asyncio.wait_for(asyncio.shield(task), 20)


async def test_stop_during_a_restart_leaves_no_process(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    async with supervised(broker) as task:
        old = broker.pid
        os.kill(old, signal.SIGKILL)
        assert await broker.wait() == -signal.SIGKILL
        await wait_until(lambda: broker.pid != old, 10)
        new = broker.pid
    assert task.exception() is None
    assert has_ended(new)


async def test_cancelled_start_leaves_no_process(tmp_path: Path) -> None:
    before = _running_javas()
    broker = EmbeddedBroker(tmp_path)
    start = asyncio.create_task(broker.start())
    await wait_until((tmp_path / "log" / "meta.properties").exists, 30)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert _running_javas() <= before


def _running_javas() -> set[int]:
    return {child.pid for child in psutil.Process().children() if child.name() == "java"}
