"""Cost of tracing on the cached path: off, sampled at 10 % and at 100 %, workers taking turns.

The collector is a sink in this process: it acknowledges spans without decoding them. The worker's
CPU time is printed beside the rate, because other load on the machine affects it less.
"""

import asyncio
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.measuring import load_average
from benchmarks.pipeline import VIDEOS, LoadTest, request_body
from tests.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.pipeline_process import PipelineProcess

ROUNDS = 3
REQUESTS = 4_000
"""Published at once; four seconds or more of full load."""

EXPORT_SECONDS = 1.0
"""Longer than the delay between two batches of a continuous export."""

RATIOS: dict[str, float | None] = {"off": None, "10 %": 0.1, "100 %": 1.0}


@dataclass(frozen=True)
class Round:
    """Requests per second, and milliseconds of the worker's CPU time for each."""

    rate: float
    cpu: float


def variables(ratio: float | None, endpoint: str) -> dict[str, str]:
    if ratio is None:
        return {}
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(ratio),
        # Otherwise dropped spans would count as free.
        "OTEL_BSP_MAX_QUEUE_SIZE": "200000",
    }


async def run_round(
    pipeline: PipelineProcess, name: str, ratio: float | None, sink: OtlpReceiver
) -> Round:
    worker = await pipeline.start_worker("all", **variables(ratio, sink.endpoint))
    topics = ("clipmill.requests.v1", "clipmill.results.v1")
    await LoadTest(pipeline.bootstrap, *topics, request_body("warm")).run(None, VIDEOS * 20)
    process = psutil.Process(worker.pid)
    before = sum(process.cpu_times()[:2])
    figures = await LoadTest(pipeline.bootstrap, *topics, request_body(name)).run(None, REQUESTS)
    exported = -1
    while exported < sink.bytes:
        # Spans that wait for export belong to the cost.
        exported = sink.bytes
        await asyncio.sleep(EXPORT_SECONDS)
    cpu = (sum(process.cpu_times()[:2]) - before) / REQUESTS * 1e3
    worker.terminate()
    return Round(figures.rate, cpu)


async def main() -> None:
    rounds: dict[str, list[Round]] = {name: [] for name in RATIOS}
    with tempfile.TemporaryDirectory() as directory, otlp_receiver(keeps=False) as sink:
        async with PipelineProcess(Path(directory)) as pipeline:
            for number in range(ROUNDS):
                for name, ratio in RATIOS.items():
                    label = f"r{number}{name[:2].strip()}"
                    rounds[name].append(await run_round(pipeline, label, ratio, sink))
    off = median(rounds["off"])
    for name, found in rounds.items():
        middle = median(found)
        print(
            f"tracing {name:>6}  {middle.rate:8.0f}/s ({middle.rate / off.rate - 1:+.1%})"
            f"   {middle.cpu:.2f} ms CPU each ({middle.cpu / off.cpu - 1:+.1%})"
        )
    print(f"{sink.bytes / 2**20:.1f} MB of spans; {load_average()}")


def median(rounds: list[Round]) -> Round:
    return Round(
        statistics.median(each.rate for each in rounds),
        statistics.median(each.cpu for each in rounds),
    )


if __name__ == "__main__":
    asyncio.run(main())
