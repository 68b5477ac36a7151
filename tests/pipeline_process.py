"""A whole pipeline for tests and benchmarks: stand-in, broker and workers as processes.

    async with PipelineProcess(directory) as pipeline:
        worker = await pipeline.start_worker("all")
        await pipeline.publish({"url": "https://www.tiktok.com/@u/video/7…", "id": "a"})
        results = await pipeline.results(1)
        worker.kill()

The broker is a child of this process and is restarted when it dies; workers are real `clipmill`
processes whose egress leads to the stand-in.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from streams.broker.broker import EmbeddedBroker
from streams.broker.server import RestartPolicy
from streams.client import BATCH_FINISHED
from streams.cluster.connection import ClusterUnavailableError
from streams.cluster.topic_admin import apply_topics, check_topics
from streams.settings import KafkaSettings
from streams.stage import load_stages, topics_of
from streams.topics import COMMANDS, REQUESTS, RESULTS, TOPICS, Topic

CLIPMILL = str(Path(sys.executable).parent / "clipmill")
START_SECONDS = 60
STOP_SECONDS = 20
COMMAND_SECONDS = 120
UNLIMITED = {
    "CLIPMILL_LIMITS__DEFAULT_REQUESTS_PER_SECOND": "10000",
    "CLIPMILL_LIMITS__RESOLVE_TASKS": "32",
    "CLIPMILL_LIMITS__EXTRACT_TASKS": "32",
    "CLIPMILL_LIMITS__DOWNLOAD_TASKS": "16",
}
"""Settings of workers: the stand-in has a higher rate limit than a platform."""


class Process:
    """A child that prints one line of JSON when it is ready."""

    def __init__(self, command: Sequence[str], variables: dict[str, str], log: Path) -> None:
        self.command = command
        self.log = log
        with log.open("ab") as errors:
            self._child = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, **variables},
                text=True,
            )
        self.pid = self._child.pid
        self.ready: dict[str, Any] = {}

    async def wait_ready(self, seconds: float = START_SECONDS) -> Self:
        async with asyncio.timeout(seconds):
            assert self._child.stdout is not None
            line = await asyncio.to_thread(self._child.stdout.readline)
        if not line:
            raise RuntimeError(f"{self.command} did not start:\n{self.log.read_text()[-3000:]}")
        self.ready = json.loads(line)
        return self

    def running(self) -> bool:
        return self._child.poll() is None

    def kill(self) -> None:
        """Send SIGKILL and wait for the exit."""
        self._child.kill()
        self._close()

    def terminate(self) -> int:
        """Send SIGTERM; return the exit status."""
        self._child.send_signal(signal.SIGTERM)
        try:
            self._child.wait(STOP_SECONDS)
        finally:
            self.kill()
        return self._child.returncode

    def _close(self) -> None:
        self._child.wait()
        assert self._child.stdout is not None
        self._child.stdout.close()


class StandinControl:
    """Client of the stand-in's control endpoint: its switches and counters."""

    def __init__(self, url: str) -> None:
        self._url = url

    def counters(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("GET", "/counters")
        return found

    def switch(self, scenario: str, **fields: Any) -> None:
        """Set a scenario for all requests or for one video or egress; see `Switches.set`."""
        self._call("POST", "/switches", {"scenario": scenario, **fields})

    def media(self, video: str, format_id: str) -> dict[str, Any]:
        """Return the expected size and sha256 of a format."""
        found: dict[str, Any] = self._call("GET", f"/media?video={video}&format={format_id}")
        return found

    def clear(self, **which: str) -> None:
        """Clear all switches, or those of a ``video`` or an ``egress``."""
        self._call("DELETE", f"/switches?{urllib.parse.urlencode(which)}")

    def pace(self, **fields: Any) -> None:
        """Set latency and media speed."""
        self._call("POST", "/pace", fields)

    def limit_rate(self, per_second: int | None = None, retry_after_seconds: int = 0) -> None:
        """Answer more pages per second and egress with 429, and reset the counts."""
        body = {"per_second": per_second, "retry_after_seconds": retry_after_seconds}
        self._call("POST", "/rate", body)

    def rate_counts(self) -> tuple[int, int]:
        """Return the peak of pages per second of an egress, and how many were answered 429."""
        found = self._call("GET", "/rate")
        return max(found["most"].values(), default=0), found["refused"]

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            text = answer.read()
        return json.loads(text) if text else None


class PipelineProcess:
    """Stand-in, broker and any number of workers, each a process of its own.

    Args:
        directory: of all files; the workers' data directory is ``directory/data``.
        egresses: names of several egresses of the workers instead of one.
        proxy: kind of the single egress: ``proxy`` speaks HTTP CONNECT, ``socks`` SOCKS5.
        variables: settings of all workers, as environment variables.
    """

    broker: EmbeddedBroker
    standin: StandinControl
    bootstrap: str

    def __init__(
        self,
        directory: Path,
        *,
        egresses: Sequence[str] = (),
        proxy: str = "proxy",
        **variables: str,
    ) -> None:
        self.directory = directory
        self._proxy = proxy
        self._egresses = egresses
        self.data_dir = directory / "data"
        self.variables = {"CLIPMILL_DATA_DIR": str(self.data_dir), **UNLIMITED, **variables}
        self.workers: list[Process] = []
        self._stack = AsyncExitStack()
        self._seen: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.summaries: dict[str, list[dict[str, Any]]] = defaultdict(list)

    async def __aenter__(self) -> Self:
        try:
            await self._start_standin()
            await self._start_broker()
            await self._open_clients()
        except BaseException:
            await self._stack.aclose()
            raise
        self._stack.callback(self._stop_workers)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def _start_standin(self) -> None:
        state = self.directory / "standin"
        command = [sys.executable, "-m", "tests.standin", "--state-dir", str(state)]
        command += ["--egresses", ",".join(self._egresses)]
        process = Process(command, {}, self.directory / "standin.log")
        self._stack.callback(process.kill)
        ready = (await process.wait_ready()).ready
        self.standin = StandinControl(ready["control"])
        if self._egresses:
            self.variables["CLIPMILL_EGRESS__PROXIES"] = json.dumps(ready["egresses"])
        else:
            self.variables["CLIPMILL_EGRESS__PROXY"] = ready[self._proxy]
        self.variables["CLIPMILL_EGRESS__CA_FILE"] = ready["ca_file"]

    async def _start_broker(self) -> None:
        self.broker = EmbeddedBroker(
            self.directory / "kafka", restarts=RestartPolicy(min_uptime_seconds=0.1)
        )
        await self._stack.enter_async_context(self.broker)
        self.bootstrap = self.broker.bootstrap
        self._supervision = asyncio.create_task(self.broker.supervise())
        self._stack.push_async_callback(self._stop_supervision)
        self.kafka = KafkaSettings(bootstrap=self.bootstrap)
        await apply_topics(self.kafka, topics_of(load_stages()))

    async def _open_clients(self) -> None:
        self._producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all")
        await self._producer.start()
        self._stack.push_async_callback(self._producer.stop)
        self._consumer = AIOKafkaConsumer(
            RESULTS.kafka_name(), bootstrap_servers=self.bootstrap, auto_offset_reset="earliest"
        )
        await self._consumer.start()
        self._stack.push_async_callback(self._stop_consumer)

    async def _stop_consumer(self) -> None:
        # aiokafka lets the cancellation of its own waiting fetch escape while a broker is away.
        with suppress(asyncio.CancelledError):
            await self._consumer.stop()

    async def _stop_supervision(self) -> None:
        await _cancel(self._supervision)

    @asynccontextmanager
    async def broker_stopped(self) -> AsyncIterator[None]:
        """Stop the broker cleanly, as for maintenance, and start it again."""
        await self._stop_supervision()
        await self.broker.stop()
        yield
        await self.broker.start()
        self._supervision = asyncio.create_task(self.broker.supervise())

    async def wait_for_broker(self) -> None:
        """Wait until the broker answers after it was killed."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                with suppress(ClusterUnavailableError):
                    return await check_topics(self.kafka, TOPICS)
                await asyncio.sleep(0.2)

    def _stop_workers(self) -> None:
        for worker in self.workers:
            worker.kill()

    async def start_worker(
        self, *stages: str, prefix: Sequence[str] = (), **variables: str
    ) -> Process:
        """Start a worker of these stages (or ``all``) and wait until it is ready."""
        worker = self.spawn_worker(*stages, prefix=prefix, **variables)
        return await worker.wait_ready()

    def spawn_worker(self, *stages: str, prefix: Sequence[str] = (), **variables: str) -> Process:
        """Start a worker, wrapped in the command ``prefix``, without waiting for it."""
        variables = {"CLIPMILL_KAFKA__BOOTSTRAP": self.bootstrap, **variables}
        command = [*prefix, CLIPMILL, "worker", *stages]
        command += ["--http", "127.0.0.1:0"]
        log = self.directory / f"worker-{len(self.workers)}.log"
        worker = Process(command, {**self.variables, **variables}, log)
        self.workers.append(worker)
        return worker

    async def publish(self, *requests: dict[str, Any]) -> None:
        for request in requests:
            await self.publish_raw(json.dumps(request).encode())

    async def publish_raw(self, value: bytes | None, **fields: Any) -> None:
        """Publish any record on the requests topic and wait for its acknowledgement."""
        await self._producer.send_and_wait(REQUESTS.kafka_name(), value, **fields)

    async def publish_to(self, topic: Topic, value: bytes | None, **fields: Any) -> None:
        """Publish any record on any topic and wait for its acknowledgement."""
        await self._producer.send_and_wait(topic.kafka_name(), value, **fields)

    async def publish_command(self, **body: Any) -> None:
        """Publish a command, such as ``command="cancel", request_id="a"``."""
        key = body.get("request_id", "").encode() or None
        await self._producer.send_and_wait(COMMANDS.kafka_name(), json.dumps(body).encode(), key)

    async def clipmill(self, *arguments: str, **variables: str) -> tuple[int, str, str]:
        """Return exit status, stdout and stderr of ``clipmill ARGUMENTS`` on this cluster."""
        return await self.clipmill_with_stdin(b"", *arguments, **variables)

    async def clipmill_with_stdin(
        self, stdin: bytes, *arguments: str, **variables: str
    ) -> tuple[int, str, str]:
        """Return the same for a command with a standard input."""
        child = await self.start_clipmill(*arguments, **variables)
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                output, errors = await child.communicate(stdin)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
        return child.returncode or 0, output.decode(), errors.decode()

    async def start_clipmill(self, *arguments: str, **variables: str) -> asyncio.subprocess.Process:
        """Start ``clipmill ARGUMENTS`` with pipes as its three streams."""
        settings = {**self.variables, "CLIPMILL_KAFKA__BOOTSTRAP": self.bootstrap, **variables}
        return await asyncio.create_subprocess_exec(
            *(CLIPMILL, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **settings},
        )

    async def results(self, count: int, seconds: float = 60) -> dict[str, list[dict[str, Any]]]:
        """Return all results so far by request id, once ``count`` requests have one.

        The list of a request holds all its results, duplicates included. Batch summaries are in
        ``summaries``.
        """
        deadline = time.monotonic() + seconds
        while len(self._seen) < count and time.monotonic() < deadline:
            await self.read_results(min(1.0, max(0.0, deadline - time.monotonic())))
        if len(self._seen) < count:
            raise TimeoutError(f"{len(self._seen)} of {count} results after {seconds} s")
        return dict(self._seen)

    async def read_results(self, seconds: float) -> dict[str, list[dict[str, Any]]]:
        """Read results for a time; return all results so far by request id."""
        batches = await self._consumer.getmany(timeout_ms=int(seconds * 1000))
        for records in batches.values():
            for record in records:
                result = json.loads(record.value)
                result["_seen_at"] = time.time()
                kind = self.summaries if result["status"] == BATCH_FINISHED else self._seen
                kind[result["request_id"]].append(result)
        return dict(self._seen)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
