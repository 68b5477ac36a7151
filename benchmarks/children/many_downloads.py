"""Many concurrent downloads as the product does them, and how evenly they progress."""

import asyncio
import json
from pathlib import Path

import aiohttp
import uvloop

from agents.network.download import MediaDownloader
from agents.network.egress import Egress
from agents.network.session import open_session
from agents.network.transfer import FetchLimits
from benchmarks.children.arguments import Downloads
from benchmarks.children.stopwatch import stopwatch
from schemas.video import MediaSource, VideoFormat

HOSTS = (".tiktokcdn.com",)
PLAY = VideoFormat(format_id="play", container="mp4")


class ByteCounter:
    """Bytes of each download, now and when half of all bytes had arrived."""

    def __init__(self, arguments: Downloads) -> None:
        self.now = [0] * len(arguments.urls)
        self.half: list[int] = []
        self._half_total = arguments.size * len(arguments.urls) // 2

    def record(self, number: int, done: int) -> None:
        """Record the bytes so far of one download."""
        self.now[number] = done
        if not self.half and sum(self.now) >= self._half_total:
            self.half = list(self.now)


async def main(arguments: Downloads) -> None:
    """Fetch all files into the directory; write the bytes at half as ``half.json``."""
    counter = ByteCounter(arguments)
    async with open_session(
        Egress(proxy=arguments.proxy, ca_file=Path(arguments.ca_file))
    ) as session:
        with stopwatch():
            async with asyncio.TaskGroup() as group:
                for number, url in enumerate(arguments.urls):
                    group.create_task(_fetch(session, arguments, number, url, counter))
    assert counter.now == [arguments.size] * len(arguments.urls)
    await asyncio.to_thread(
        Path(arguments.directory, "half.json").write_text, json.dumps(counter.half)
    )


async def _fetch(
    session: aiohttp.ClientSession,
    arguments: Downloads,
    number: int,
    url: str,
    counter: ByteCounter,
) -> None:
    await MediaDownloader(session).fetch(
        MediaSource(format=PLAY, url=url),
        Path(arguments.directory, str(number)),
        hosts=HOSTS,
        limits=FetchLimits(),
        on_bytes=lambda done, _: counter.record(number, done),
    )


if __name__ == "__main__":
    uvloop.run(main(Downloads.read()))
