"""Extractions of pages of which some are challenged, with one of several ways to solve it.

``yt-dlp``: by its own loop, in the thread of the extraction. ``python``: by the engine's loop, as
without a C compiler. ``native``: as the product does with one.
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
from agents.platforms.tiktok import page
from benchmarks.children.orders import Extractions
from benchmarks.children.stopwatch import Usage, stopwatch
from streams.settings import load_settings

DEADLINE_SECONDS = 300.0
ORDINARY = "/video/7000"
"""In the addresses of pages without a challenge."""


@dataclass(frozen=True)
class PageUsage(Usage):
    """What a block used, and how long its ordinary pages took.

    Attributes:
        ordinary_median: seconds of the median one; 0 when there were none.
        ordinary_slowest: seconds of the slowest one.
    """

    ordinary_median: float
    ordinary_slowest: float


class YtDlpIE(page.TikTokIE):
    """The engine's extractor with yt-dlp's way to solve challenges."""

    _solve_challenge_and_set_cookies = StockTikTokIE._solve_challenge_and_set_cookies  # noqa: SLF001


class PythonIE(page.TikTokIE):
    """The engine's extractor where there is no compiled library."""

    def _solve_challenge_and_set_cookies(self, webpage: str) -> Any:
        solver: ProofOfWork = self._downloader.proof_of_work
        solver._search = search_in_python  # noqa: SLF001 - no setting for what nobody wants
        return super()._solve_challenge_and_set_cookies(webpage)


EXTRACTORS = {
    "yt-dlp": "benchmarks.children.challenged_pages:YtDlpIE",
    "python": "benchmarks.children.challenged_pages:PythonIE",
    "native": page.EXTRACTOR,
}


async def main(order: Extractions) -> None:
    """Extract the pages."""
    ca_file, ca_bundle = Path(order.ca_file), Path(order.ca_bundle)
    egress = Egress(proxy=order.proxy, ca_file=ca_file, ca_bundle=ca_bundle)
    extractor = EXTRACTORS[order.way]
    settings = engine_settings(load_settings(), preload=(extractor,))
    async with EnginePool(msgspec.structs.replace(settings, processes=2), egress) as engine:
        await _extract_all(engine, extractor, order.warm, order.in_flight)
        with stopwatch() as more:
            took = await _extract_all(engine, extractor, order.urls, order.in_flight)
            ordinary = [seconds for url, seconds in took if ORDINARY in url] or [0.0]
            more["ordinary_median"] = statistics.median(ordinary)
            more["ordinary_slowest"] = max(ordinary)


async def _extract_all(
    engine: EnginePool, extractor: str, urls: list[str], in_flight: int
) -> list[tuple[str, float]]:
    left = iter(urls)
    parts = (_extract_some(engine, extractor, left) for _ in range(in_flight))
    return [each for part in await asyncio.gather(*parts) for each in part]


async def _extract_some(
    engine: EnginePool, extractor: str, urls: Iterable[str]
) -> list[tuple[str, float]]:
    took = []
    for url in urls:
        job = EngineJob(url=url, extractor=extractor, deadline_seconds=DEADLINE_SECONDS)
        started = time.perf_counter()
        found = await engine.extract(job)
        took.append((url, time.perf_counter() - started))
        assert msgspec.json.decode(found.raw)["formats"]
    return took


if __name__ == "__main__":
    uvloop.run(main(Extractions.read()))
