"""A download by yt-dlp's own downloader, with its defaults; it neither hashes nor syncs."""

import hashlib
from pathlib import Path

from yt_dlp import YoutubeDL

from benchmarks.children.orders import Download
from benchmarks.children.stopwatch import stopwatch


def main(order: Download) -> None:
    """Fetch the file into the directory."""
    target = Path(order.directory, "media.mp4")
    info = {"id": "1", "title": "benchmark", "ext": "mp4", "url": order.url}
    # Without certifi the roots are those that the environment names, the stand-in's among them.
    trust = {"compat_opts": {"no-certifi"}}
    options = {"proxy": order.proxy, "quiet": True, "noprogress": True, **trust}
    with YoutubeDL(options) as ydl, stopwatch():
        succeeded, _ = ydl.dl(str(target), info)
    assert succeeded
    with target.open("rb") as file:
        assert hashlib.file_digest(file, "sha256").hexdigest() == order.sha256


if __name__ == "__main__":
    main(Download.read())
