"""A mixed load for minutes or hours: reports growth of memory, files or threads of any process.

    python -m benchmarks.soak --minutes 20 --rate 15

Memory is USS, the memory unique to a process; its slope is the median of all slopes between two
samples, with 95 % confidence, from the end of the first quarter on. The TTLs of caches and tables
are short, so that they are full before that.
"""

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.measuring import load_average
from benchmarks.soaking.driving import Throughput, run_load
from benchmarks.soaking.load import mixed_load
from benchmarks.soaking.outcomes import Outcomes
from benchmarks.soaking.sampling import ProcessSampler
from benchmarks.soaking.series import REFERENCES, Figures, figures_of, grows
from tests.pipeline_process import PipelineProcess, Process

MINUTES = 20.0
RATE = 15.0
SAMPLE_SECONDS = 5.0
WARM_UP_SHARE = 0.25
TAIL_SECONDS = 120.0

SHORT_TTLS = {
    "CLIPMILL_CACHE__VIDEO_INFO_SECONDS": "20",
    "CLIPMILL_CACHE__STALE_SECONDS": "20",
    "CLIPMILL_CACHE__METADATA_SECONDS": "20",
    "CLIPMILL_CACHE__FORMAT_CHOICE_SECONDS": "20",
    "CLIPMILL_CACHE__UPLOAD_DATE_SECONDS": "20",
    "CLIPMILL_CACHE__NEGATIVE_SECONDS": "20",
    "CLIPMILL_CACHE__FILE_SECONDS": "20",
    "CLIPMILL_CACHE__TABLE_BYTES": str(4 * 2**20),
    "CLIPMILL_CACHE__MEMORY_BYTES": str(4 * 2**20),
    "CLIPMILL_LEDGER__REMEMBER_SECONDS": "30",
    "CLIPMILL_PERFORMANCE__WINDOW_SECONDS": "20",
}


@dataclass(frozen=True)
class Report:
    """The report of a soak.

    Attributes:
        figures: of every process that ran beyond the warm-up.
        outcomes: of the requests.
        throughput: of the load.
        ended: processes that ended early.
    """

    figures: list[Figures]
    outcomes: Outcomes
    throughput: Throughput
    ended: list[str]

    def __str__(self) -> str:
        growing = grows(self.figures)
        verdict = (
            f"memory grows: {', '.join(growing)}"
            if growing
            else "no memory of ours grows for certain"
        )
        lines = [
            f"{self.throughput.seconds:.0f} s of requests, {load_average()}; after the warm-up:",
            *map(str, self.figures),
            f"rates: {self.throughput}",
            "outcomes:",
            *self.outcomes.lines(),
            f"verdict: {verdict}",
            *(f"ended before its time: {name}" for name in self.ended),
        ]
        return "\n".join(lines)


async def soak(
    pipeline: PipelineProcess,
    worker: Process,
    *,
    seconds: float,
    rate: float = RATE,
    sample_seconds: float = SAMPLE_SECONDS,
    tail_seconds: float = TAIL_SECONDS,
) -> Report:
    """Put a worker under load and report its resource usage and the outcomes."""
    others = (pipeline.broker.pid, _standin_pid(), os.getpid())
    sampler = ProcessSampler(worker.pid, dict(zip(REFERENCES, others, strict=True)))
    sampling = asyncio.create_task(sampler.run(sample_seconds))
    try:
        load = mixed_load(f"soak-{time.time_ns():x}", rate)
        outcomes, throughput = await run_load(pipeline.bootstrap, load, rate, seconds, tail_seconds)
        ended = sampler.ended()
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
    warm_up = seconds * WARM_UP_SHARE
    found = (figures_of(series, warm_up, seconds) for series in sampler.series)
    return Report([figures for figures in found if figures], outcomes, throughput, ended)


def _standin_pid() -> int:
    return next(
        child.pid for child in psutil.Process().children() if "tests.standin" in child.cmdline()
    )


async def main(minutes: float = MINUTES, rate: float = RATE) -> Report:
    """Print the report of a soak of a new pipeline."""
    with tempfile.TemporaryDirectory() as directory:
        async with PipelineProcess(Path(directory), **SHORT_TTLS) as pipeline:
            worker = await pipeline.start_worker("all")
            report = await soak(pipeline, worker, seconds=minutes * 60, rate=rate)
    print(report)
    return report


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=MINUTES, help="how long to ask")
    parser.add_argument(
        "--rate", type=float, default=RATE, help="requests a second, a batch is one"
    )
    return parser.parse_args()


if __name__ == "__main__":
    arguments = _arguments()
    found = asyncio.run(main(arguments.minutes, arguments.rate))
    raise SystemExit(bool(grows(found.figures) or found.outcomes.open or found.ended))
