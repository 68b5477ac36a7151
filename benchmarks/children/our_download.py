"""A download as the product does it: into a workspace, hashed, and published at the end."""

from pathlib import Path

import uvloop

from agents.download.download_task import ProgressMeter
from agents.network.download import MediaDownloader
from agents.network.egress import Egress
from agents.network.session import open_session
from agents.network.transfer import FetchLimits
from agents.storage.local import LocalStorage
from benchmarks.children.arguments import Download
from benchmarks.children.stopwatch import stopwatch
from schemas.video import MediaSource, VideoFormat

HOSTS = (".tiktokcdn.com",)


async def main(arguments: Download) -> None:
    """Fetch the file into a store in the directory."""
    source = MediaSource(format=VideoFormat(format_id="play", container="mp4"), url=arguments.url)
    meter = ProgressMeter("benchmark", "tiktok:1", [source.format])

    def progress(done: int, total: int | None) -> None:
        meter.update("play", done, total)

    async with (
        open_session(Egress(proxy=arguments.proxy, ca_file=Path(arguments.ca_file))) as session,
        LocalStorage.open(Path(arguments.directory)) as storage,
    ):
        with stopwatch():
            async with storage.workspace() as workspace:
                target = workspace / "media"
                fetched = await MediaDownloader(session).fetch(
                    source, target, hosts=HOSTS, limits=FetchLimits(), on_bytes=progress
                )
                uri = await storage.publish(
                    target,
                    platform="tiktok",
                    video_id="1",
                    format_id="play",
                    extension="mp4",
                    sha256=fetched.sha256,
                )
        assert await storage.stat(uri) == arguments.size
        assert fetched.sha256 == arguments.sha256


if __name__ == "__main__":
    uvloop.run(main(Download.read()))
