"""Extractions a second, and processor time of each, beside yt-dlp as it comes.

The pages come from a stand-in on the same cores, without any latency but where it says so.
"""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.children.orders import Extractions
from benchmarks.children.stopwatch import Usage
from benchmarks.decoding import decoding_lines
from benchmarks.measuring import Place, in_rounds, load_average, open_place
from benchmarks.replacement import replacement_line
from tests.standin import video_id
from tests.standin.links import Issue
from tests.standin.pages import post_page
from tests.standin.posts import post_for

ROUNDS = 3
LATENCY_MILLISECONDS = 400


@dataclass(frozen=True)
class Way:
    """One way to extract: the child that does it, and how many pages it gets.

    Attributes:
        name: in the table.
        child: module of `benchmarks.children`.
        options: its other arguments.
        warm: pages before the clock starts; enough for every thread to have loaded everything.
        pages: pages that are measured.
        latency: milliseconds that each page takes to come.
    """

    name: str
    child: str
    warm: int
    pages: int
    options: dict[str, Any] = field(default_factory=dict)
    latency: int = 0


REFERENCE = Way("yt-dlp, one YoutubeDL", "stock_extraction", 3, 60, {"way": "reused"})
WAYS = (
    Way("EnginePool, 16 in flight", "engine_pool", 64, 300, {"in_flight": 16}),
    Way("EnginePool, 64 in flight", "engine_pool", 128, 300, {"in_flight": 64}),
    REFERENCE,
    Way("yt-dlp, YoutubeDL per call", "stock_extraction", 2, 15, {"way": "fresh"}),
    Way("yt-dlp -j, process per URL", "stock_extraction", 1, 2, {"way": "command"}),
    Way(
        f"one process, {LATENCY_MILLISECONDS} ms latency",
        "engine_pool",
        64,
        256,
        {"in_flight": 32, "processes": 1},
        LATENCY_MILLISECONDS,
    ),
)


@dataclass(frozen=True)
class Figures:
    """Of one way: extractions per second, and milliseconds of processor time of each."""

    rate: float
    cpu: float

    def line(self, name: str, reference: "Figures") -> str:
        """Return the row of the table."""
        ratios = f"{self.rate / reference.rate:10.2f}   {self.cpu / reference.cpu:9.2f}"
        return f"{name:28}{self.rate:8.1f}/s   {self.cpu:8.1f} ms   {ratios}"


async def main() -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as directory:
        async with open_place(Path(directory)) as place:
            found = await _measure(place)
            served = ROUNDS * sum(way.warm + way.pages for way in WAYS)
            standin = place.standin_cpu_seconds() / served * 1e3
    page = post_page(post_for(video_id()), Issue(0)).length
    print(f"{'':28}{'rate':>10}   {'CPU each':>11}   {'rate ratio':>10}   {'CPU ratio':>9}")
    for name, figures in found.items():
        print(figures.line(name, found[REFERENCE.name]))
    print(f"pages of {page / 1e3:.0f} kB, each {standin:.1f} ms CPU of the stand-in beside it")
    print(f"medians of {ROUNDS} rounds; ratios to {REFERENCE.name}")
    print("\n".join(decoding_lines()))
    print(await replacement_line())
    print(load_average())


async def _measure(place: Place) -> dict[str, Figures]:
    async def run(way: Way) -> Usage:
        return await place.measure(way.child, _order(way, place))

    usages = await in_rounds(WAYS, run, ROUNDS)
    return {way.name: _figures(way, usages[way.name]) for way in WAYS}


def _figures(way: Way, usage: Usage) -> Figures:
    return Figures(way.pages / usage.seconds, usage.cpu_seconds / way.pages * 1e3)


def _order(way: Way, place: Place) -> Extractions:
    urls = [f"https://www.tiktok.com/@_/video/{video}" for video in _videos(way)]
    return Extractions(
        proxy=place.proxy,
        ca_file=place.ca_file,
        ca_bundle=place.ca_bundle,
        warm=urls[: way.warm],
        urls=urls[way.warm :],
        **way.options,
    )


def _videos(way: Way) -> list[str]:
    serials = range(1, way.warm + way.pages + 1)
    scenario = "page.slow" if way.latency else "ok"
    return [video_id(scenario, param=way.latency, serial=serial) for serial in serials]


if __name__ == "__main__":
    asyncio.run(main())
