"""CPU time and memory of HLS streams, one and 100 at once, compared with a plain download.

The bytes come from a stand-in on the same cores; all variants write to the same disk in turn.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks.children.arguments import Download
from benchmarks.children.stopwatch import Usage
from benchmarks.measuring import Environment, in_rounds, load_average, open_environment
from tests.standin import expected_media, video_id
from tests.standin.ids import case_of_id
from tests.standin.links import DOWNLOAD_HOST, Issue, media_url
from tests.standin.long_streams import long_stream
from tests.standin.other_sites import ELSEWHERE
from tests.standin.posts import post_for

SEGMENTS, KIBIBYTES = 500, 1_300
MANY = 100
ROUNDS = 3
SECONDS = 120.0


@dataclass(frozen=True)
class StreamUsage(Usage):
    """With the memory of the media process.

    Attributes:
        children_peak_bytes: peak resident memory of the descendants.
    """

    children_peak_bytes: int = 0


@dataclass(frozen=True)
class Variant:
    """A way to download, and its stream: ``ts`` or ``fmp4``, empty for a plain file.

    The segments are divided among the concurrent copies.
    """

    name: str
    stream: str = ""
    part: str = ""
    copies: int = 1


PLAIN = Variant("plain file, published")
VARIANTS = (
    PLAIN,
    Variant("TS, fetched", "ts", "fetch"),
    Variant("TS, joined, published", "ts"),
    Variant("fMP4, joined, published", "fmp4"),
    Variant(f"TS, {MANY} at once", "ts", copies=MANY),
    Variant(f"fMP4, {MANY} at once", "fmp4", copies=MANY),
)


async def main(segments: int = SEGMENTS) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_environment(Path(directory)) as environment:

            async def run(variant: Variant) -> StreamUsage:
                return await _measure(variant, environment, segments)

            for variant in VARIANTS:
                await _measure(variant, environment, 4 * variant.copies)
            found = await in_rounds(VARIANTS, run, ROUNDS)
    megabytes = segments * _segment_bytes() / 1e6
    plain = found[PLAIN.name]
    for name, usage in found.items():
        print(
            f"{name:26}{megabytes / usage.seconds:6.0f} MB/s"
            f"  {usage.cpu_seconds / megabytes * 1e3:6.2f} ms/MB"
            f"  {usage.cpu_seconds / plain.cpu_seconds:5.2f}"
            f"  {usage.peak_bytes / 1e6:5.0f} MB"
            f"  +{(usage.peak_bytes - usage.start_bytes) / 1e6:.0f} MB"
            f"  {usage.children_peak_bytes / 1e6:.0f} MB in the media process"
        )
    print(f"{megabytes:.0f} MB in {segments} segments; medians of {ROUNDS} rounds")
    print(load_average())


@cache
def _segment_bytes() -> int:
    """Size of a segment: FFmpeg's rate control misses the one asked for."""
    return len(long_stream(f"long-ts-1-{KIBIBYTES}-0") or b"")


async def _measure(variant: Variant, environment: Environment, segments: int) -> StreamUsage:
    with tempfile.TemporaryDirectory(dir=environment.directory) as directory:
        child = "our_stream" if variant.stream else "our_download"
        arguments = _arguments(variant, environment, segments, directory)
        usage = await environment.measure(child, arguments, StreamUsage, seconds=SECONDS)
        assert isinstance(usage, StreamUsage)
        return usage


def _arguments(
    variant: Variant, environment: Environment, segments: int, directory: str
) -> Download:
    segments //= variant.copies
    name = f"long-{variant.stream}-{segments}-{KIBIBYTES}.m3u8"
    size = segments * _segment_bytes()
    video = video_id("size", param=max(1, size >> 20))
    expected = expected_media(video, "play")
    post = post_for(video, case=case_of_id(video))
    plain = media_url(post, DOWNLOAD_HOST, "play", Issue(time.time()))
    return Download(
        proxy=environment.proxy,
        ca_file=environment.ca_file,
        url=f"https://{ELSEWHERE}/streams/hls/{name}" if variant.stream else plain,
        directory=directory,
        size=size * 9 // 10 if variant.stream else expected.size,
        sha256=expected.sha256,
        variant=variant.part,
        copies=variant.copies,
    )


if __name__ == "__main__":
    asyncio.run(main())
