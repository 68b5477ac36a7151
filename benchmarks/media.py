"""CPU time and memory of a large download over TLS, compared with plain loops and yt-dlp.

The bytes come from a stand-in on the same cores; all variants write to the same disk in turn.
"""

import asyncio
import json
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.children.arguments import Download, Downloads
from benchmarks.children.stopwatch import Usage
from benchmarks.measuring import Environment, in_rounds, load_average, open_environment
from tests.standin import expected_media, video_id
from tests.standin.ids import case_of_id
from tests.standin.links import DOWNLOAD_HOST, Issue, media_url
from tests.standin.posts import post_for

MEBIBYTES = 1024
ROUNDS = 3
MANY = 100
MANY_MEBIBYTES = 10
WARM_MEBIBYTES = 8
"""Warm-up download: loads code and certificates into the page cache."""


@dataclass(frozen=True)
class Variant:
    """A variant of a download: its child module and the child's other arguments."""

    name: str
    child: str
    options: dict[str, Any] = field(default_factory=dict)


OURS = Variant("MediaDownloader, published", "our_download")
VARIANTS = (
    OURS,
    Variant("aiohttp, read only", "aiohttp_download", {"variant": "read"}),
    Variant("aiohttp, sha256, write", "aiohttp_download", {"variant": "write"}),
    Variant("aiohttp, sha256, write, sync", "aiohttp_download", {"variant": "sync"}),
    Variant("yt-dlp's HttpFD", "stock_download"),
)


@dataclass(frozen=True)
class Figures:
    """Resource usage of a variant for a download of this size."""

    megabytes: float
    usage: Usage

    @property
    def cpu(self) -> float:
        """Milliseconds per megabyte."""
        return self.usage.cpu_seconds / self.megabytes * 1e3

    def line(self, name: str, ours: "Figures") -> str:
        peak, start = self.usage.peak_bytes / 1e6, self.usage.start_bytes / 1e6
        return (
            f"{name:30}{self.megabytes / self.usage.seconds:7.0f} MB/s   {self.cpu:6.2f} ms/MB"
            f"   {ours.cpu / self.cpu:9.2f}   {peak:8.0f} MB   {peak - start:8.0f} MB"
            f"   {ours.usage.peak_bytes / self.usage.peak_bytes:9.2f}"
        )


async def main(mebibytes: int = MEBIBYTES) -> None:
    with tempfile.TemporaryDirectory() as directory:
        async with open_environment(Path(directory)) as environment:
            for variant in VARIANTS:
                await _download(variant, environment, WARM_MEBIBYTES)
            found = await _measure(environment, mebibytes)
            many = await _measure_many(environment)
    print(
        f"{'':30}{'speed':>12}   {'CPU':>12}   {'CPU ours/':>9}"
        f"   {'peak RSS':>11}   {'above start':>11}   {'RSS ours/':>9}"
    )
    for name, figures in found.items():
        print(figures.line(name, found[OURS.name]))
    print(f"a file of {found[OURS.name].megabytes:.0f} MB; medians of {ROUNDS} rounds")
    print(many)
    print(load_average())


async def _measure(environment: Environment, mebibytes: int) -> dict[str, Figures]:
    async def run(variant: Variant) -> Usage:
        return await _download(variant, environment, mebibytes)

    usages = await in_rounds(VARIANTS, run, ROUNDS)
    megabytes = mebibytes * 2**20 / 1e6
    return {name: Figures(megabytes, usage) for name, usage in usages.items()}


async def _measure_many(environment: Environment) -> str:
    """Return a line about many concurrent downloads."""
    videos = [video_id("size", param=MANY_MEBIBYTES, serial=1 + each) for each in range(MANY)]
    with tempfile.TemporaryDirectory(dir=environment.directory) as directory:
        arguments = Downloads(
            proxy=environment.proxy,
            ca_file=environment.ca_file,
            urls=[_url(each) for each in videos],
            directory=directory,
            size=MANY_MEBIBYTES << 20,
        )
        usage = await environment.measure("many_downloads", arguments)
        half = sorted(json.loads(await asyncio.to_thread(Path(directory, "half.json").read_text)))
    shares = ", ".join(
        f"{each / arguments.size:.0%}" for each in (half[0], half[MANY // 2], half[-1])
    )
    figures = Figures(MANY * arguments.size / 1e6, usage)
    return (
        f"{MANY} downloads of {MANY_MEBIBYTES} MiB at once: {figures.cpu:.2f} ms/MB, peak RSS"
        f" {usage.peak_bytes / 1e6:.0f} MB; when half of all was there, the slowest, the median"
        f" and the fastest had {shares} of theirs"
    )


async def _download(variant: Variant, environment: Environment, mebibytes: int) -> Usage:
    with tempfile.TemporaryDirectory(dir=environment.directory) as directory:
        return await environment.measure(
            variant.child, _arguments(variant, environment, mebibytes, directory)
        )


def _arguments(
    variant: Variant, environment: Environment, mebibytes: int, directory: str
) -> Download:
    video = video_id("size", param=mebibytes)
    expected = expected_media(video, "play")
    return Download(
        proxy=environment.proxy,
        ca_file=environment.ca_file,
        url=_url(video),
        directory=directory,
        size=expected.size,
        sha256=expected.sha256,
        **variant.options,
    )


def _url(video: str) -> str:
    post = post_for(video, case=case_of_id(video))
    return media_url(post, DOWNLOAD_HOST, "play", Issue(time.time()))


if __name__ == "__main__":
    asyncio.run(main())
