"""Extractions of pages of which some are challenged, with one of several solvers.

``yt-dlp``: its own loop, in the thread of the extraction. ``python``: the engine's loop, used
without a C compiler. ``native``: the product's default with a C compiler.
"""

import asyncio
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import uvloop
from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE

from agents.engine.interface import EngineJob
from agents.engine.pool import EnginePool
from agents.engine.proof_of_work import ProofOfWork, search_in_python
from agents.extraction.engine import engine_settings
from agents.network.egress import Egress
from agents.platforms.tiktok import handler, page
from benchmarks.children.arguments import Extractions
from benchmarks.children.stopwatch import Usage, stopwatch
from streams.settings import load_settings

DEADLINE_SECONDS = 300.0
ORDINARY = "/video/7000"
"""Part of the URLs of pages without a challenge."""


@dataclass(frozen=True)
class PageUsage(Usage):
    """Resource usage of a block, and latencies of its ordinary pages.

    Attributes:
        ordinary_median: median seconds; 0 without ordinary pages.
        ordinary_slowest: maximum seconds.
    """

    ordinary_median: float
    ordinary_slowest: float


class YtDlpIE(page.TikTokIE):
    """The engine's extractor with yt-dlp's solver."""

    _solve_challenge_and_set_cookies = StockTikTokIE._solve_challenge_and_set_cookies  # noqa: SLF001


class PythonIE(page.TikTokIE):
    """The engine's extractor without the compiled library."""

    def _solve_challenge_and_set_cookies(self, webpage: str) -> Any:
        solver: ProofOfWork = self._downloader.proof_of_work
        solver._search = search_in_python  # noqa: SLF001 - the product has no such setting
        return super()._solve_challenge_and_set_cookies(webpage)


EXTRACTORS = {
    "yt-dlp": "benchmarks.children.challenged_pages:YtDlpIE",
    "python": "benchmarks.children.challenged_pages:PythonIE",
    "native": handler.EXTRACTOR,
}


async def main(arguments: Extractions) -> None:
    ca_file, ca_bundle = Path(arguments.ca_file), Path(arguments.ca_bundle)
    egress = Egress(proxy=arguments.proxy, ca_file=ca_file, ca_bundle=ca_bundle)
    extractor = EXTRACTORS[arguments.variant]
    settings = engine_settings(load_settings(), preload=(extractor,))
    async with EnginePool(msgspec.structs.replace(settings, processes=2), egress) as engine:
        await _extract_all(engine, extractor, arguments.warm, arguments.in_flight)
        with stopwatch() as extra:
            latencies = await _extract_all(engine, extractor, arguments.urls, arguments.in_flight)
            ordinary = [seconds for url, seconds in latencies if ORDINARY in url] or [0.0]
            extra["ordinary_median"] = statistics.median(ordinary)
            extra["ordinary_slowest"] = max(ordinary)


async def _extract_all(
    engine: EnginePool, extractor: str, urls: list[str], in_flight: int
) -> list[tuple[str, float]]:
    remaining = iter(urls)
    parts = (_extract_some(engine, extractor, remaining) for _ in range(in_flight))
    return [each for part in await asyncio.gather(*parts) for each in part]


async def _extract_some(
    engine: EnginePool, extractor: str, urls: Iterable[str]
) -> list[tuple[str, float]]:
    latencies = []
    for url in urls:
        job = EngineJob(url=url, extractor=extractor, deadline_seconds=DEADLINE_SECONDS)
        started = time.perf_counter()
        found = await engine.extract(job)
        latencies.append((url, time.perf_counter() - started))
        assert msgspec.json.decode(found.raw)["formats"]
    return latencies


if __name__ == "__main__":
    uvloop.run(main(Extractions.read()))
