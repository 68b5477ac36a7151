"""A download with yt-dlp's own downloader and its defaults; it neither hashes nor syncs."""

import hashlib
from pathlib import Path

from yt_dlp import YoutubeDL

from benchmarks.children.arguments import Download
from benchmarks.children.stopwatch import stopwatch


def main(arguments: Download) -> None:
    target = Path(arguments.directory, "media.mp4")
    info = {"id": "1", "title": "benchmark", "ext": "mp4", "url": arguments.url}
    # Without certifi the roots come from the environment, including the stand-in's.
    trust = {"compat_opts": {"no-certifi"}}
    options = {"proxy": arguments.proxy, "quiet": True, "noprogress": True, **trust}
    with YoutubeDL(options) as ydl, stopwatch():
        succeeded, _ = ydl.dl(str(target), info)
    assert succeeded
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == arguments.sha256


if __name__ == "__main__":
    main(Download.read())
