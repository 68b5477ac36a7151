"""Cost of tracing on the cached path: off, sampled at 10 % and at 100 %, workers taking turns.

The collector is a sink in this process: it acknowledges spans without decoding them. The worker's
CPU time is printed beside the rate, because other load on the machine affects it less.
"""

import asyncio
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.measuring import load_average
from benchmarks.pipeline import WARM_UP, Figures, running_clipmill
from tests.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.pipeline_process import PipelineProcess

ROUNDS = 5
REQUESTS = 4_000
"""Published at once; four seconds or more of full load."""

EXPORT_SECONDS = 1.0
"""Longer than the delay between two batches of a continuous export."""

RATIOS: dict[str, float | None] = {"off": None, "10 %": 0.1, "100 %": 1.0}


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


async def run_round(pipeline: PipelineProcess, ratio: float | None, sink: OtlpReceiver) -> Figures:
    async with running_clipmill(pipeline, **variables(ratio, sink.endpoint)) as system:
        await system.drive(0, WARM_UP)
        process = psutil.Process(system.pid)
        before = sum(process.cpu_times()[:2])
        figures = await system.drive(0, REQUESTS)
        exported = -1
        while exported < sink.bytes:
            # Spans that wait for export belong to the cost.
            exported = sink.bytes
            await asyncio.sleep(EXPORT_SECONDS)
        cpu = (sum(process.cpu_times()[:2]) - before) / REQUESTS * 1e3
    return replace(figures, cpu=cpu)


async def main() -> None:
    rounds: dict[str, list[Figures]] = {name: [] for name in RATIOS}
    with tempfile.TemporaryDirectory() as directory, otlp_receiver(keeps=False) as sink:
        async with PipelineProcess(Path(directory)) as pipeline:
            for _ in range(ROUNDS):
                for name, ratio in RATIOS.items():
                    rounds[name].append(await run_round(pipeline, ratio, sink))
    off = middle_of(rounds["off"])
    for name, found in rounds.items():
        middle = middle_of(found)
        print(
            f"tracing {name:>6}  {middle.rate:8.0f}/s ({middle.rate / off.rate - 1:+.1%})"
            f"   {middle.cpu:.2f} ms CPU each ({middle.cpu / off.cpu - 1:+.1%})"
        )
    print(f"{sink.bytes / 2**20:.1f} MiB of spans; {load_average()}")


def middle_of(rounds: list[Figures]) -> Figures:
    """Return the first round, with the median rate and CPU time."""
    rate = statistics.median(each.rate for each in rounds)
    return replace(rounds[0], rate=rate, cpu=statistics.median(each.cpu for each in rounds))


if __name__ == "__main__":
    asyncio.run(main())
