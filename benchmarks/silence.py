"""The longest time without a result while workers are killed repeatedly.

    python -m benchmarks.silence --pattern pair --kills 30 --rate 10

Patterns: `pair`, two workers of all stages, a random one is killed; `other`, the same, but always
the same one is killed; `alone`, one worker. A killed worker is restarted at once. No gap can be
shorter than a start, which takes longer on a busy machine: `--slower 3` makes the pauses between
kills three times as long.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from aiokafka import ConsumerRecord

from benchmarks.measuring import load_average
from streams.topics import RESULTS
from tests.acceptance.client import PipelineClient
from tests.acceptance.outage import SteadyLoad
from tests.pipeline_process import PipelineProcess, Process

KILLS = 30
RATE = 10.0
CALM_SECONDS = 10.0
"""Requests are published for this long before the first kill."""

DRAIN_SECONDS = 180.0
REPORTED_GAPS = 6


@dataclass(frozen=True)
class KillPattern:
    """Which workers are killed, and how often.

    Attributes:
        workers: number of workers.
        victims: number of workers, from the first, among which a random one is killed.
        pause_seconds: minimum and maximum time between two kills.
    """

    workers: int
    victims: int
    pause_seconds: tuple[float, float]

    def slower(self, factor: float) -> "KillPattern":
        """Return the pattern with longer pauses."""
        low, high = self.pause_seconds
        return replace(self, pause_seconds=(low * factor, high * factor))


PATTERNS: Mapping[str, KillPattern] = {
    "pair": KillPattern(workers=2, victims=2, pause_seconds=(3.0, 5.0)),
    "other": KillPattern(workers=2, victims=1, pause_seconds=(3.0, 5.0)),
    "alone": KillPattern(workers=1, victims=1, pause_seconds=(6.0, 8.0)),
}


@dataclass(frozen=True)
class ResultGaps:
    """Gaps between results, and outcomes, under repeated kills.

    Attributes:
        gaps: times without a result from the first kill until the last result, the longest first.
        outcomes: number of requests with an outcome.
        requests: number of published requests.
        different: number of requests with several different outcomes.
        drain_seconds: from the last kill to the last outcome.
        start_seconds: start time of a worker before the first kill.
    """

    gaps: Sequence[float]
    outcomes: int
    requests: int
    different: int
    drain_seconds: float
    start_seconds: float

    def __str__(self) -> str:
        longest = " ".join(f"{gap:.1f}" for gap in self.gaps[:REPORTED_GAPS])
        return (
            f"longest without a result: {longest} s; {self.outcomes} outcomes of {self.requests}, "
            f"{self.different} of several kinds; all {self.drain_seconds:.1f} s after the last "
            f"kill; a start takes {self.start_seconds:.1f} s"
        )


async def measure(
    directory: Path, pattern: KillPattern, kills: int, rate: float, **variables: str
) -> ResultGaps:
    """Kill workers under a steady load; return the gaps and outcomes."""
    rng = random.Random(7)
    async with PipelineProcess(directory, **variables) as pipeline:
        workers = []
        for _ in range(pattern.workers):
            started = time.time()
            workers.append(await pipeline.start_worker("all"))
            start_seconds = time.time() - started
        load = SteadyLoad(pipeline, per_second=rate)
        seconds = CALM_SECONDS + kills * sum(pattern.pause_seconds) / 2
        publishing = asyncio.create_task(load.run(seconds))
        await asyncio.sleep(CALM_SECONDS)
        began = time.time()
        await _kill_randomly(pipeline, workers, pattern, kills, rng)
        ended = time.time()
        await publishing
        client = PipelineClient(pipeline)
        await client.wait_for(list(load.published), DRAIN_SECONDS)
        records = await client.records(RESULTS)
        return _gaps_of(records, load.published, (began, ended), start_seconds)


async def _kill_randomly(
    pipeline: PipelineProcess,
    workers: list[Process],
    pattern: KillPattern,
    kills: int,
    rng: random.Random,
) -> None:
    for _ in range(kills):
        await asyncio.sleep(rng.uniform(*pattern.pause_seconds))
        victim = rng.randrange(pattern.victims)
        await asyncio.to_thread(workers[victim].kill)
        workers[victim] = pipeline.spawn_worker("all")


def _gaps_of(
    records: Sequence[ConsumerRecord[bytes, bytes]],
    published: Mapping[str, float],
    kills: tuple[float, float],
    start_seconds: float,
) -> ResultGaps:
    began, ended = kills
    outcomes: dict[str, set[bytes]] = {}
    for record in records:
        outcomes.setdefault((record.key or b"").decode(), set()).add(record.value or b"")
    times = sorted(record.timestamp / 1000 for record in records)
    gaps = [later - max(earlier, began) for earlier, later in pairwise(times) if later > began]
    return ResultGaps(
        gaps=sorted(gaps, reverse=True),
        outcomes=len(outcomes.keys() & published.keys()),
        requests=len(published),
        different=sum(len(values) > 1 for values in outcomes.values()),
        drain_seconds=max(0.0, times[-1] - ended),
        start_seconds=start_seconds,
    )


async def main() -> None:
    """Print the figures of a pattern."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pattern", choices=PATTERNS, default="pair")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--slower", type=float, default=1.0)
    arguments = parser.parse_args()
    pattern = PATTERNS[arguments.pattern].slower(arguments.slower)
    with tempfile.TemporaryDirectory() as directory:
        found = await measure(Path(directory), pattern, arguments.kills, arguments.rate)
    print(
        f"{arguments.pattern}, {arguments.kills} kills every {pattern.pause_seconds[0]:g} to "
        f"{pattern.pause_seconds[1]:g} s, {arguments.rate:g}/s: {found}; {load_average()}"
    )


if __name__ == "__main__":
    asyncio.run(main())
