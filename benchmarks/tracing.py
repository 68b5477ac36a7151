"""Cost of tracing on the cached path: none, 10 % and all of the requests sampled.

One worker answers them in turn, as the flag of the client's ``traceparent`` decides: CPU times of
two workers of the same settings differ by 5 %. The figures are medians of the ratios within a
round, with 95 % confidence, so that other load on the machine affects both sides. CPU time is of
the worker's process and contains the export; the collector is a sink in this process, which
acknowledges spans without decoding them.
"""

import asyncio
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.measuring import load_average
from benchmarks.pipeline import WARM_UP, Figures, System, running_clipmill
from tests.otlp_receiver import otlp_receiver
from tests.pipeline_process import PipelineProcess

ROUNDS = 24
"""An even number: every second round has the opposite order."""

REQUESTS = 4_000
"""Published at once; three seconds of full load."""

EXPORT_SECONDS = 1.5
"""After each batch, whatever is sampled: an idle worker takes CPU time too. Spans are exported by
then: an incomplete batch waits for 1 s here, instead of 5."""

NONE = 0.0
SHARES = (0.1, 1.0)


def variables(endpoint: str) -> dict[str, str]:
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        # Otherwise dropped spans would count as free.
        "OTEL_BSP_MAX_QUEUE_SIZE": "200000",
        "OTEL_BSP_SCHEDULE_DELAY": "1000",
    }


async def drive(system: System, sampled: float) -> Figures:
    process = psutil.Process(system.pid)
    before = sum(process.cpu_times()[:2])
    figures = await system.drive(0, REQUESTS, sampled)
    await asyncio.sleep(EXPORT_SECONDS)
    return replace(figures, cpu=(sum(process.cpu_times()[:2]) - before) / REQUESTS * 1e3)


async def main() -> None:
    rounds: list[dict[float, Figures]] = []
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        sink = stack.enter_context(otlp_receiver(keeps=False))
        pipeline = await stack.enter_async_context(PipelineProcess(Path(directory)))
        worker = running_clipmill(pipeline, **variables(sink.endpoint))
        system = await stack.enter_async_context(worker)
        await system.drive(0, WARM_UP, NONE)
        for number in range(ROUNDS):
            order = (NONE, *SHARES)[:: -1 if number % 2 else 1]
            rounds.append({share: await drive(system, share) for share in order})
    rate = statistics.median(each[NONE].rate for each in rounds)
    cpu = statistics.median(each[NONE].cpu for each in rounds)
    print(f"none sampled  {rate:.0f}/s, {cpu:.3f} ms CPU each")
    for share in SHARES:
        rates = interval([each[share].rate / each[NONE].rate for each in rounds])
        cpus = interval([each[share].cpu / each[NONE].cpu for each in rounds])
        print(f"{share:4.0%} sampled  rate {rates}, CPU {cpus}")
    print(f"{sink.bytes / 2**20:.1f} MiB of spans; {load_average()}")


def interval(ratios: Sequence[float]) -> str:
    """Return the median as a difference in percent, with its 95 % interval by order statistics."""
    ordered, count = sorted(ratios), len(ratios)
    # Of the binomial distribution, by its normal approximation.
    margin = round(1.96 * count**0.5 / 2)
    low, high = ordered[max(0, count // 2 - margin)], ordered[min(count - 1, count // 2 + margin)]
    return f"{statistics.median(ratios) - 1:+.1%} ({low - 1:+.1%} to {high - 1:+.1%})"


if __name__ == "__main__":
    asyncio.run(main())
