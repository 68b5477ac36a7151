"""Extractors that misbehave in an engine process as hostile pages and broken libraries might."""

import ctypes
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from yt_dlp.extractor.common import InfoExtractor
from yt_dlp.utils import ExtractorError

MODULE = "tests.unit.agents.engine.extractors"
DIRECT = {"Ytdl-Request-Proxy": "__noproxy__"}


def extractor_path(kind: str) -> str:
    return f"{MODULE}:{kind}IE"


def _query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


class _TestIE(InfoExtractor):  # type: ignore[misc]  # yt-dlp has no types
    _VALID_URL = r"[a-z]+:(?P<id>.*)"


class EchoIE(_TestIE):
    def _real_extract(self, url: str) -> dict[str, Any]:
        time.sleep(float(_query(url).get("seconds", 0)))
        return {
            "id": url,
            "pid": os.getpid(),
            "parent": os.getppid(),
            "group": os.getpgrp(),
            "environment": dict(os.environ),
            "extractors": list(self._downloader._ies),
        }


class OptInIE(_TestIE):
    """Sets a cookie when it is initialized, as Reddit's extractor does."""

    def _real_initialize(self) -> None:
        self._set_cookie("example.com", "over18", "1")

    def _real_extract(self, url: str) -> dict[str, Any]:
        return {"id": url, "cookies": [*self._get_cookies(url)]}


class StuckIE(_TestIE):
    """Holds the interpreter lock, so that no thread of the process can run."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        del url
        ctypes.PyDLL(None).sleep(60)
        return {}


class CrashIE(_TestIE):
    """Kills its process on the first ``times`` calls."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        query = _query(url)
        with Path(query["log"]).open("a") as log:
            log.write("x")
        if Path(query["log"]).stat().st_size <= int(query["times"]):
            os.kill(os.getpid(), signal.SIGKILL)
        return {"pid": os.getpid()}


class MemoryIE(_TestIE):
    def _real_extract(self, url: str) -> dict[str, Any]:
        return {"bytes": len(bytearray(int(_query(url)["bytes"])))}


class LeakIE(_TestIE):
    """Allocates all memory outside of Python's allocator; keeps it, or aborts (``abort=1``)."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        libc = ctypes.PyDLL(None)
        libc.malloc.restype = ctypes.c_void_p
        libc.malloc.argtypes = (ctypes.c_size_t,)
        libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)
        chunk_bytes, taken = 4 * 1024 * 1024, 0
        while place := libc.malloc(chunk_bytes):
            libc.memset(place, 1, chunk_bytes)
            taken += chunk_bytes
        if _query(url).get("abort"):
            libc.abort()
        return {"bytes": taken}


class ListIE(_TestIE):
    """Lists entries, ``each`` per page, of ``pages`` pages that the ``site`` serves."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        query = _query(url)
        return dict(self.playlist_result(self._entries(**query), "list", "a list"))

    def _entries(self, site: str, pages: str, each: str) -> Iterator[dict[str, Any]]:
        for page in range(int(pages)):
            self._download_webpage(f"{site}/page?bytes=5&number={page}", "page")
            for place in range(int(each)):
                number = page * int(each) + place
                yield self.url_result(f"https://a.example/{number}", video_id=str(number))
        raise ExtractorError("there is no end")


class FailIE(_TestIE):
    facts: dict[str, str]

    def __init__(self, downloader: Any = None) -> None:
        super().__init__(downloader)
        self.facts = {}

    def _real_extract(self, url: str) -> dict[str, Any]:
        if fact := _query(url).get("fact"):
            self.facts["fact"] = fact
        raise ExtractorError("no such luck", expected=True)


class ExitIE(_TestIE):
    def _real_extract(self, url: str) -> dict[str, Any]:
        raise SystemExit(url)


class BigIE(_TestIE):
    def _real_extract(self, url: str) -> dict[str, Any]:
        return {"text": "x" * int(_query(url)["bytes"])}


class SubtitledIE(_TestIE):
    """Returns a post of the given size, with subtitles in many languages."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        entries = [{"url": f"https://a.example/{'y' * 1_000}.vtt", "ext": "vtt"}]
        languages = {f"l{number}": entries for number in range(200)}
        return {"id": "x" * int(_query(url)["bytes"]), "subtitles": languages}


class CookieIE(_TestIE):
    """Returns the cookies it was given and sets two more."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        seen = {cookie.name: cookie.value for cookie in self.cookiejar}
        self._set_cookie(urlsplit(url).hostname, "left", "behind")
        self._set_cookie("elsewhere.example", "foreign", "1")
        return {"seen": seen}


class FullDiskIE(_TestIE):
    """Writes to a device that is always full."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        return {"bytes": Path("/dev/full").write_text(url)}


class FormatsIE(_TestIE):
    """Has yt-dlp select a format among those of the URL: ``ids=a,b``."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        names = [name for name in _query(url).get("ids", "").split(",") if name]
        formats = [{"format_id": name, "url": f"https://x.example/{name}"} for name in names]
        info = {"id": "1", "title": "x", "formats": formats, "extractor": "x", "webpage_url": url}
        ydl = self._downloader
        ydl.format_selector = ydl.build_format_selector("none-such")
        return dict(ydl.process_ie_result(info, download=False))


class ReshapedIE(_TestIE):
    """Reads a key that the page no longer has."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        return {"id": _query(url)["gone"]}


class FetchIE(_TestIE):
    """Fetches its URL, impersonating a browser on ``browser=1``, past the proxy on ``direct=1``."""

    def _real_extract(self, url: str) -> dict[str, Any]:
        query = _query(url)
        page, response = self._download_webpage_handle(
            url,
            "page",
            impersonate=True if query.get("browser") else None,
            headers=DIRECT if query.get("direct") else {},
        )
        return {"text": page[:100], "bytes": len(page), "url": response.url}
