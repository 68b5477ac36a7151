"""Extractions by unmodified yt-dlp, through its Python interface and its command."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yt_dlp import YoutubeDL

from benchmarks.children.arguments import Extractions
from benchmarks.children.stopwatch import stopwatch

COMMAND = str(Path(sys.executable).parent / "yt-dlp")


def main(arguments: Extractions) -> None:
    """Extract the pages in turn, in the variant ``reused``, ``fresh`` or ``command``."""
    extract = _VARIANTS[arguments.variant](arguments.proxy)
    for url in arguments.warm:
        extract(url)
    with stopwatch():
        for url in arguments.urls:
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
        completed = subprocess.run([*self._command, url], stdout=subprocess.PIPE, check=True)
        _check(json.loads(completed.stdout))


_VARIANTS: dict[str, Callable[[str], Callable[[str], None]]] = {
    "reused": _Reused,
    "fresh": _Fresh,
    "command": _Command,
}


def _options(proxy: str) -> dict[str, Any]:
    # Without certifi the roots come from the environment, including the stand-in's.
    return {"proxy": proxy, "quiet": True, "compat_opts": {"no-certifi"}}


def _check(info: dict[str, Any]) -> None:
    assert info["formats"]


if __name__ == "__main__":
    main(Extractions.read())
