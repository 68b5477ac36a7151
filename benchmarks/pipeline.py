"""Throughput and latency from request to result on the cached path (`info`), beside bare aiokafka.

Each runs alone, as one process on topics of four partitions, with the same requests and records of
the same number and size (`benchmarks.peers.job`); the driver is on librdkafka in a process of its
own. The loop on aiokafka does nothing but the job: it has no options, rates, traces, metrics or
dead letters.
"""

import asyncio
import itertools
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.measuring import load_average
from benchmarks.peers.job import PARTITIONS, TOPICS
from benchmarks.peers.job import REQUESTS as PEER_REQUESTS
from benchmarks.peers.job import RESULTS as PEER_RESULTS
from streams.topics import REQUESTS, RESULTS
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

VIDEOS = tuple(video_id(serial=serial + 1) for serial in range(50))

LOADS = ((50, 500), (200, 2_000), (500, 5_000), (1_000, 10_000), (2_000, 20_000), (0, 20_000))
"""Requests per second offered (0: all at once) and how many."""

WARM_UP = 1_000

SETTLE_SECONDS = 3.0
"""From the creation of topics to the start of a peer."""

REFERENCE = "bare_aiokafka"

_RUNS = itertools.count()


@dataclass(frozen=True)
class Figures:
    """Results per second, milliseconds from request to result, and CPU milliseconds of each."""

    rate: float
    p50: float
    p99: float
    cpu: float

    def __str__(self) -> str:
        return (
            f"{self.rate:8.0f}/s   p50 {self.p50:7.1f} ms   p99 {self.p99:7.1f} ms   "
            f"{self.cpu:5.2f} ms CPU each"
        )


@dataclass(frozen=True)
class System:
    """A running system under load.

    Attributes:
        name: label of its printed lines.
        pid: of its process.
        bootstrap: of its Kafka.
        source: topic of the requests.
        target: topic of the results.
        log: its standard error.
    """

    name: str
    pid: int
    bootstrap: str
    source: str
    target: str
    log: Path

    async def drive(self, rate: float, count: int, sampled: float | None = None) -> Figures:
        """Offer requests at a rate, 0 for all at once.

        Args:
            rate: requests per second.
            count: number of requests.
            sampled: share of the requests whose ``traceparent`` has the sampled flag; None sends
                no ``traceparent``.

        Raises:
            RuntimeError: the driver failed, for example because results are missing.
        """
        process = psutil.Process(self.pid)
        before = sum(process.cpu_times()[:2])
        run_id = f"run{next(_RUNS)}x{time.time_ns()}"
        driver = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.peers.driver", self.bootstrap),
            *(self.source, self.target, run_id, ",".join(VIDEOS), str(rate), str(count)),
            *(() if sampled is None else (str(sampled),)),
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await driver.communicate()
        if driver.returncode:
            log = self.log.read_text()[-2_000:]
            raise RuntimeError(f"{self.name}: the driver failed at {rate}/s\n{log}")
        cpu = (sum(process.cpu_times()[:2]) - before) / count * 1e3
        return Figures(**json.loads(output), cpu=cpu)

    async def measure(self, loads: Sequence[tuple[float, int]] = LOADS) -> float:
        """Print a line for each load; return the best rate."""
        await self.drive(0, WARM_UP)
        best = 0.0
        for rate, count in loads:
            figures = await self.drive(rate, count)
            best = max(best, figures.rate)
            print(f"{self.name:18} {rate or 'all':>5}  {figures}", flush=True)
        return best


@asynccontextmanager
async def running_clipmill(pipeline: PipelineProcess, **variables: str) -> AsyncIterator[System]:
    """Run a worker of all stages."""
    worker = await pipeline.start_worker("all", **variables)
    topics = (REQUESTS.kafka_name(), RESULTS.kafka_name())
    try:
        yield System("clipmill", worker.pid, pipeline.bootstrap, *topics, worker.log)
    finally:
        worker.terminate()


@asynccontextmanager
async def running_peer(
    pipeline: PipelineProcess, name: str, python: str = sys.executable
) -> AsyncIterator[System]:
    """Run a module of `benchmarks.peers` with an interpreter that has its packages."""
    prefix = f"{name}-{next(_RUNS)}"
    admin = AIOKafkaAdminClient(bootstrap_servers=pipeline.bootstrap)
    await admin.start()
    names = [f"{prefix}.{topic}" for topic in TOPICS]
    await admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    # A consumer that joins before its topic has leaders gets no partitions for five minutes.
    await asyncio.sleep(SETTLE_SECONDS)
    await admin.close()
    command = [python, "-m", f"benchmarks.peers.{name}", pipeline.bootstrap, prefix]
    process = Process(command, {}, pipeline.directory / f"{prefix}.log")
    topics = (f"{prefix}.{PEER_REQUESTS}", f"{prefix}.{PEER_RESULTS}")
    try:
        yield System(name, process.pid, pipeline.bootstrap, *topics, process.log)
    finally:
        process.kill()


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with PipelineProcess(Path(directory)) as pipeline:
            async with running_clipmill(pipeline) as system:
                ours = await system.measure()
            async with running_peer(pipeline, REFERENCE) as system:
                reference = await system.measure()
    print(f"ratio of the best rates {ours / reference:.2f}; {load_average()}")


if __name__ == "__main__":
    asyncio.run(main())
