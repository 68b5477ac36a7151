"""Streams as the product does them: segments, joined, hashed, and published at the end."""

import asyncio
import contextlib
from pathlib import Path

import uvloop

from agents.download.download_task import ProgressMeter
from agents.download.segments.fetcher import TrackFetcher
from agents.download.segments.store import SegmentStore
from agents.media.protocol import TrackFile
from agents.media.remuxer import open_remuxer
from agents.network.download import MediaDownloader
from agents.network.egress import Egress
from agents.network.session import open_session
from agents.network.transfer import FetchLimits
from agents.storage.local import LocalStorage
from agents.storage.writing import digest_of
from benchmarks.children.arguments import Download
from benchmarks.children.stopwatch import children_peak_bytes, stopwatch
from schemas.errors import ClipmillError
from schemas.video import MediaSource, VideoFormat

HOSTS = (".elsewhere.example",)


async def main(arguments: Download) -> None:
    """Fetch the stream into a store in the directory; ``variant`` ``fetch`` omits the rest.

    Prints a `benchmarks.streams.StreamUsage`.
    """
    root = Path(arguments.directory)
    source = MediaSource(
        format=VideoFormat(format_id="hls", container="mp4", protocol="hls"), url=arguments.url
    )
    meter = ProgressMeter("benchmark", "tiktok:1", [source.format])

    def progress(done: int, total: int | None) -> None:
        meter.update("hls", done, total)

    async with (
        open_session(Egress(proxy=arguments.proxy, ca_file=Path(arguments.ca_file))) as session,
        LocalStorage.open(root) as storage,
        storage.workspace() as workspace,
        open_remuxer() as remuxer,
    ):
        # A worker has one media process for all its files.
        with contextlib.suppress(ClipmillError):
            await remuxer.extract_audio(Path(__file__), workspace / "warm")
        fetcher, store = TrackFetcher(), SegmentStore(root / "segments")
        downloader = MediaDownloader(session)

        async def process(number: int) -> None:
            async with store.lease(f"tiktok:{number}", "hls") as directory:
                track = await fetcher.fetch(
                    source,
                    directory,
                    downloader,
                    hosts=HOSTS,
                    limits=FetchLimits(),
                    on_bytes=progress,
                )
                assert track.bytes >= arguments.size, track.bytes
                if arguments.variant == "fetch":
                    return
                output = workspace / f"made-{number}"
                await remuxer.join([(track.path, TrackFile(parts=track.parts))], output)
                await storage.publish(
                    output,
                    platform="tiktok",
                    video_id=str(number),
                    format_id="hls",
                    extension="mp4",
                    sha256=await digest_of(output),
                )

        with stopwatch() as report:
            async with asyncio.TaskGroup() as group:
                for number in range(arguments.copies):
                    group.create_task(process(number))
            report["children_peak_bytes"] = children_peak_bytes()


if __name__ == "__main__":
    uvloop.run(main(Download.read()))
