"""Many downloads at once as the product does them, and how alike they come forward."""

import asyncio
import json
from pathlib import Path

import aiohttp
import uvloop

from agents.network.download import FetchLimits, MediaDownloader
from agents.network.egress import Egress
from agents.network.session import open_session
from benchmarks.children.orders import Downloads
from benchmarks.children.stopwatch import stopwatch
from schemas.video import MediaSource, VideoFormat

HOSTS = (".tiktokcdn.com",)
PLAY = VideoFormat(format_id="play", container="mp4")


class Tally:
    """Bytes of each download, now and when half of all were there."""

    def __init__(self, order: Downloads) -> None:
        self.now = [0] * len(order.urls)
        self.half: list[int] = []
        self._enough = order.size * len(order.urls) // 2

    def note(self, number: int, done: int) -> None:
        """Note the bytes so far of one download."""
        self.now[number] = done
        if not self.half and sum(self.now) >= self._enough:
            self.half = list(self.now)


async def main(order: Downloads) -> None:
    """Fetch all files into the directory; the tally is left there as ``half.json``."""
    tally = Tally(order)
    async with open_session(Egress(proxy=order.proxy, ca_file=Path(order.ca_file))) as session:
        with stopwatch():
            async with asyncio.TaskGroup() as group:
                for number, url in enumerate(order.urls):
                    group.create_task(_fetch(session, order, number, url, tally))
    assert tally.now == [order.size] * len(order.urls)
    await asyncio.to_thread(Path(order.directory, "half.json").write_text, json.dumps(tally.half))


async def _fetch(
    session: aiohttp.ClientSession, order: Downloads, number: int, url: str, tally: Tally
) -> None:
    await MediaDownloader(session).fetch(
        MediaSource(format=PLAY, url=url),
        Path(order.directory, str(number)),
        hosts=HOSTS,
        limits=FetchLimits(),
        on_bytes=lambda done, _: tally.note(number, done),
    )


if __name__ == "__main__":
    uvloop.run(main(Downloads.read()))
