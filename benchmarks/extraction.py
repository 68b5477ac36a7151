"""Extractions per second, and CPU time of each, compared with unmodified yt-dlp.

The pages come from a stand-in on the same cores, without latency unless stated.
"""

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.children.arguments import Extractions
from benchmarks.children.stopwatch import Usage
from benchmarks.decoding import decoding_lines
from benchmarks.measuring import Environment, in_rounds, load_average, open_environment
from benchmarks.replacement import replacement_line
from tests.standin import video_id
from tests.standin.links import Issue
from tests.standin.pages import post_page
from tests.standin.posts import post_for

ROUNDS = 3
LATENCY_MILLISECONDS = 400


@dataclass(frozen=True)
class Variant:
    """A variant of extraction: its child module, and the number of pages.

    Attributes:
        name: in the table.
        child: module of `benchmarks.children`.
        options: other arguments of the child.
        warm: pages before the measurement; enough for every thread to have loaded all modules.
        pages: measured pages.
        latency: milliseconds of each page's response.
    """

    name: str
    child: str
    warm: int
    pages: int
    options: dict[str, Any] = field(default_factory=dict)
    latency: int = 0


REFERENCE = Variant("yt-dlp, one YoutubeDL", "stock_extraction", 3, 60, {"variant": "reused"})
VARIANTS = (
    Variant("EnginePool, 16 in flight", "engine_pool", 64, 300, {"in_flight": 16}),
    Variant("EnginePool, 64 in flight", "engine_pool", 128, 300, {"in_flight": 64}),
    REFERENCE,
    Variant("yt-dlp, YoutubeDL per call", "stock_extraction", 2, 15, {"variant": "fresh"}),
    Variant("yt-dlp -j, process per URL", "stock_extraction", 1, 2, {"variant": "command"}),
    Variant(
        f"one process, {LATENCY_MILLISECONDS} ms latency",
        "engine_pool",
        64,
        256,
        {"in_flight": 32, "processes": 1},
        LATENCY_MILLISECONDS,
    ),
    Variant(
        "one job per process, 16",
        "engine_pool",
        128,
        300,
        {"in_flight": 16, "processes": 16, "threads": 1},
    ),
    Variant(
        f"the same, {LATENCY_MILLISECONDS} ms latency",
        "engine_pool",
        128,
        256,
        {"in_flight": 16, "processes": 16, "threads": 1},
        LATENCY_MILLISECONDS,
    ),
)


@dataclass(frozen=True)
class Figures:
    """Extractions per second of a variant, and milliseconds of CPU time of each."""

    rate: float
    cpu: float

    def line(self, name: str, reference: "Figures") -> str:
        ratios = f"{self.rate / reference.rate:10.2f}   {self.cpu / reference.cpu:9.2f}"
        return f"{name:28}{self.rate:8.1f}/s   {self.cpu:8.1f} ms   {ratios}"


async def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_environment(Path(directory)) as environment:
            found = await _measure(environment)
            served = ROUNDS * sum(variant.warm + variant.pages for variant in VARIANTS)
            standin = environment.standin_cpu_seconds() / served * 1e3
    page = post_page(post_for(video_id()), Issue(0)).length
    print(f"{'':28}{'rate':>10}   {'CPU each':>11}   {'rate ratio':>10}   {'CPU ratio':>9}")
    for name, figures in found.items():
        print(figures.line(name, found[REFERENCE.name]))
    print(f"pages of {page / 1e3:.0f} kB, each {standin:.1f} ms CPU of the stand-in beside it")
    print(f"medians of {ROUNDS} rounds; ratios to {REFERENCE.name}")
    print("\n".join(decoding_lines()))
    print(await replacement_line())
    print(load_average())


async def _measure(environment: Environment) -> dict[str, Figures]:
    async def run(variant: Variant) -> Usage:
        return await environment.measure(variant.child, _arguments(variant, environment))

    usages = await in_rounds(VARIANTS, run, ROUNDS)
    return {variant.name: _figures(variant, usages[variant.name]) for variant in VARIANTS}


def _figures(variant: Variant, usage: Usage) -> Figures:
    return Figures(variant.pages / usage.seconds, usage.cpu_seconds / variant.pages * 1e3)


def _arguments(variant: Variant, environment: Environment) -> Extractions:
    urls = [f"https://www.tiktok.com/@_/video/{video}" for video in _videos(variant)]
    return Extractions(
        proxy=environment.proxy,
        ca_file=environment.ca_file,
        ca_bundle=environment.ca_bundle,
        warm=urls[: variant.warm],
        urls=urls[variant.warm :],
        **variant.options,
    )


def _videos(variant: Variant) -> list[str]:
    serials = range(1, variant.warm + variant.pages + 1)
    scenario = "page.slow" if variant.latency else "ok"
    return [video_id(scenario, param=variant.latency, serial=serial) for serial in serials]


if __name__ == "__main__":
    asyncio.run(main())
