"""Extractions by yt-dlp as it comes, by its Python interface and by its command."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yt_dlp import YoutubeDL

from benchmarks.children.orders import Extractions
from benchmarks.children.stopwatch import stopwatch

COMMAND = str(Path(sys.executable).parent / "yt-dlp")


def main(order: Extractions) -> None:
    """Extract the pages one after the other, the way ``reused``, ``fresh`` or ``command``."""
    extract = _WAYS[order.way](order.proxy)
    for url in order.warm:
        extract(url)
    with stopwatch():
        for url in order.urls:
            extract(url)


class _Reused:
    def __init__(self, proxy: str) -> None:
        self._ydl = YoutubeDL(_options(proxy))

    def __call__(self, url: str) -> None:
        _check(self._ydl.extract_info(url, download=False))


class _Fresh:
    def __init__(self, proxy: str) -> None:
        self._proxy = proxy

    def __call__(self, url: str) -> None:
        with YoutubeDL(_options(self._proxy)) as ydl:
            _check(ydl.extract_info(url, download=False))


class _Command:
    def __init__(self, proxy: str) -> None:
        self._command = [COMMAND, "--ignore-config", "--compat-options", "no-certifi"]
        self._command += ["--proxy", proxy, "-j"]

    def __call__(self, url: str) -> None:
        done = subprocess.run([*self._command, url], stdout=subprocess.PIPE, check=True)
        _check(json.loads(done.stdout))


_WAYS: dict[str, Callable[[str], Callable[[str], None]]] = {
    "reused": _Reused,
    "fresh": _Fresh,
    "command": _Command,
}


def _options(proxy: str) -> dict[str, Any]:
    # Without certifi the roots are those that the environment names, the stand-in's among them.
    return {"proxy": proxy, "quiet": True, "compat_opts": {"no-certifi"}}


def _check(info: dict[str, Any]) -> None:
    assert info["formats"]


if __name__ == "__main__":
    main(Extractions.read())
