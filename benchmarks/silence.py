"""The longest time without a result while workers are killed again and again.

    python -m benchmarks.silence --course pair --kills 30 --rate 10

Courses: `pair`, two workers of all stages of which a random one is killed; `other`, the same, but
it is always the same one; `alone`, one worker. A killed worker is started again at once. No silence
can be shorter than a start, which takes longer on a busy machine: `--slower 3` makes the pauses
between kills three times as long.
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
from tests.acceptance.desk import Desk
from tests.acceptance.outage import Load
from tests.house import House, Process

KILLS = 30
RATE = 10.0
CALM_SECONDS = 10.0
"""Requests are made for this long before the first kill."""

DRAIN_SECONDS = 180.0
REPORTED_GAPS = 6


@dataclass(frozen=True)
class Course:
    """Which workers are killed, and how often.

    Attributes:
        workers: how many run.
        victims: the first so many of them are killed in turn.
        pause_seconds: the least and the most time between two kills.
    """

    workers: int
    victims: int
    pause_seconds: tuple[float, float]

    def slower(self, factor: float) -> "Course":
        """Return the course with longer pauses."""
        low, high = self.pause_seconds
        return replace(self, pause_seconds=(low * factor, high * factor))


COURSES: Mapping[str, Course] = {
    "pair": Course(workers=2, victims=2, pause_seconds=(3.0, 5.0)),
    "other": Course(workers=2, victims=1, pause_seconds=(3.0, 5.0)),
    "alone": Course(workers=1, victims=1, pause_seconds=(6.0, 8.0)),
}


@dataclass(frozen=True)
class Silences:
    """What was seen of the results under kills.

    Attributes:
        gaps: times without a result from the first kill until the last result, the longest first.
        outcomes: requests that have one.
        asked: requests that were made.
        different: requests with several outcomes that are not the same.
        drain_seconds: from the last kill to the last outcome.
        start_seconds: how long a worker took to start before the first kill.
    """

    gaps: Sequence[float]
    outcomes: int
    asked: int
    different: int
    drain_seconds: float
    start_seconds: float

    def __str__(self) -> str:
        longest = " ".join(f"{gap:.1f}" for gap in self.gaps[:REPORTED_GAPS])
        return (
            f"longest without a result: {longest} s; {self.outcomes} outcomes of {self.asked}, "
            f"{self.different} of several kinds; all {self.drain_seconds:.1f} s after the last "
            f"kill; a start takes {self.start_seconds:.1f} s"
        )


async def measure(
    directory: Path, course: Course, kills: int, rate: float, **variables: str
) -> Silences:
    """Kill workers under a steady load and return what was seen."""
    chance = random.Random(7)
    async with House(directory, **variables) as house:
        workers = []
        for _ in range(course.workers):
            started = time.time()
            workers.append(await house.start_worker("all"))
            start_seconds = time.time() - started
        load = Load(house, per_second=rate)
        seconds = CALM_SECONDS + kills * sum(course.pause_seconds) / 2
        publishing = asyncio.create_task(load.run(seconds))
        await asyncio.sleep(CALM_SECONDS)
        began = time.time()
        await _kill_in_turn(house, workers, course, kills, chance)
        ended = time.time()
        await publishing
        desk = Desk(house)
        await desk.wait_for(list(load.published), DRAIN_SECONDS)
        records = await desk.records(RESULTS)
        return _seen(records, load.published, (began, ended), start_seconds)


async def _kill_in_turn(
    house: House, workers: list[Process], course: Course, kills: int, chance: random.Random
) -> None:
    for _ in range(kills):
        await asyncio.sleep(chance.uniform(*course.pause_seconds))
        victim = chance.randrange(course.victims)
        await asyncio.to_thread(workers[victim].kill)
        workers[victim] = house.spawn_worker("all")


def _seen(
    records: Sequence[ConsumerRecord[bytes, bytes]],
    published: Mapping[str, float],
    kills: tuple[float, float],
    start_seconds: float,
) -> Silences:
    began, ended = kills
    outcomes: dict[str, set[bytes]] = {}
    for record in records:
        outcomes.setdefault((record.key or b"").decode(), set()).add(record.value or b"")
    moments = sorted(record.timestamp / 1000 for record in records)
    gaps = [later - max(earlier, began) for earlier, later in pairwise(moments) if later > began]
    return Silences(
        gaps=sorted(gaps, reverse=True),
        outcomes=len(outcomes.keys() & published.keys()),
        asked=len(published),
        different=sum(len(values) > 1 for values in outcomes.values()),
        drain_seconds=max(0.0, moments[-1] - ended),
        start_seconds=start_seconds,
    )


async def main() -> None:
    """Print the figures of a course."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--course", choices=COURSES, default="pair")
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--rate", type=float, default=RATE)
    parser.add_argument("--slower", type=float, default=1.0)
    order = parser.parse_args()
    course = COURSES[order.course].slower(order.slower)
    with tempfile.TemporaryDirectory() as directory:
        found = await measure(Path(directory), course, order.kills, order.rate)
    print(
        f"{order.course}, {order.kills} kills every {course.pause_seconds[0]:g} to "
        f"{course.pause_seconds[1]:g} s, {order.rate:g}/s: {found}; {load_average()}"
    )


if __name__ == "__main__":
    asyncio.run(main())
