"""Extractions by our engine, as the product runs it: a platform on an engine pool."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec
import uvloop

from agents.engine.interface import Extractor
from agents.engine.pool import EnginePool
from agents.extraction.engine import engine_settings
from agents.network.egress import DIRECT, Egress
from agents.platforms.tiktok.handler import EXTRACTOR, TikTok
from benchmarks.children.arguments import Extractions
from benchmarks.children.stopwatch import stopwatch
from schemas.video import VideoRef
from streams.settings import load_settings

DEADLINE_SECONDS = 60.0


async def main(arguments: Extractions) -> None:
    ca_file, ca_bundle = Path(arguments.ca_file), Path(arguments.ca_bundle)
    egress = Egress(proxy=arguments.proxy, ca_file=ca_file, ca_bundle=ca_bundle)
    settings = engine_settings(load_settings(), preload=(EXTRACTOR,))
    if arguments.processes:
        settings = msgspec.structs.replace(settings, processes=arguments.processes)
    if arguments.threads:
        settings = msgspec.structs.replace(settings, threads_per_process=arguments.threads)
    async with EnginePool(settings, egress) as engine:
        await _extract_all(engine, arguments.warm, arguments.in_flight)
        with stopwatch():
            await _extract_all(engine, arguments.urls, arguments.in_flight)


async def _extract_all(engine: Extractor, urls: list[str], in_flight: int) -> None:
    remaining = iter(urls)
    await asyncio.gather(*(_extract_some(engine, remaining) for _ in range(in_flight)))


async def _extract_some(engine: Extractor, urls: Iterable[str]) -> None:
    platform = TikTok()
    for url in urls:
        video = platform.parse_url(url)
        assert isinstance(video, VideoRef)
        found = await platform.get_video_info(
            video, engine, egress=DIRECT, deadline_seconds=DEADLINE_SECONDS
        )
        assert platform.get_media_sources(found)


if __name__ == "__main__":
    uvloop.run(main(Extractions.read()))
