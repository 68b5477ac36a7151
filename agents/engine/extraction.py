"""One thread's extractors: runs a job to its result or its failure, and never raises.

An extractor that knows more about a failure than its exception says has an attribute
``facts: dict[str, str]``. It is emptied before every job and travels with the failure. One that
meets proof-of-work challenges has them solved by its downloader's ``proof_of_work``.
"""

from collections.abc import Mapping
from typing import Any

from yt_dlp import YoutubeDL

from agents.engine.extractors import load_extractor
from agents.engine.failures import flatten
from agents.engine.handlers import guarded_handlers
from agents.engine.playlists import read_entries
from agents.engine.proof_of_work import ProofOfWork
from agents.engine.protocol import Assignment, Failed, Finished
from agents.engine.request_bounds import Bounds, Deadline
from agents.engine.results import cookies_for, put_cookies, to_json


class Extraction:
    """Extractors and their `YoutubeDL`. Belongs to one thread: neither is thread-safe.

    Args:
        bounds: of every request.
        proxies: URL of each egress's proxy. An egress gets a `YoutubeDL` of its own when it is
            first used (1.3 ms), so that connections through it are kept.
    """

    def __init__(self, bounds: Bounds, proxies: Mapping[str, str | None]) -> None:
        self._bounds = bounds
        self._proxies = proxies
        self._deadline = Deadline()
        self._proof_of_work = ProofOfWork(self._deadline)
        self._desks: dict[str, _ExtractorSession] = {}

    def run(self, assignment: Assignment) -> Finished | Failed:
        """Return what became of the job."""
        facts: dict[str, str] = {}
        seconds = self._proof_of_work.seconds = []
        try:
            return self._extract(assignment, facts)
        except BaseException as error:  # noqa: BLE001 - foreign code; whatever it is, it is a failure
            failure = flatten(error, facts)
            return Failed(
                number=assignment.number, failure=failure, challenge_seconds=tuple(seconds)
            )

    def close(self) -> None:
        """Close the connections."""
        for desk in self._desks.values():
            desk.ydl.close()

    def _extract(self, assignment: Assignment, facts: dict[str, str]) -> Finished:
        job = assignment.job
        desk = self._desk(job.egress)
        extractor = desk.extractor(job.extractor)
        self._deadline.start(assignment.seconds)
        jar = desk.ydl.cookiejar
        jar.clear()
        put_cookies(jar, job.cookies)
        if hasattr(extractor, "facts"):
            extractor.facts = facts
        result = read_entries(extractor.extract(job.url), job.entries_max, self._deadline)
        return Finished(
            number=assignment.number,
            raw=to_json(result),
            cookies=cookies_for(job.url, jar),
            challenge_seconds=tuple(self._proof_of_work.seconds),
        )

    def _desk(self, egress: str) -> "_ExtractorSession":
        if egress not in self._desks:
            ydl = _EngineDL(self._bounds, self._deadline, self._proxies[egress])
            ydl.proof_of_work = self._proof_of_work
            self._desks[egress] = _ExtractorSession(ydl)
        return self._desks[egress]


def warm_up(extractors: list[str]) -> None:
    """Import and build everything once, so that processes forked from here start warm."""
    for name in extractors:
        load_extractor(name)
    YoutubeDL(_parameters(None, 1.0), auto_init=False).close()


class _ExtractorSession:
    """A `YoutubeDL` and the extractors that work with it."""

    def __init__(self, ydl: YoutubeDL) -> None:
        self.ydl = ydl
        self._extractors: dict[str, Any] = {}

    def extractor(self, name: str) -> Any:
        if name not in self._extractors:
            extractor = load_extractor(name)()
            self.ydl.add_info_extractor(extractor)
            self._extractors[name] = extractor
        return self._extractors[name]


class _EngineDL(YoutubeDL):
    """A `YoutubeDL` with the guarded handlers and no extractors but those added.

    Attributes:
        proof_of_work: solves the challenges that extractors meet.
    """

    proof_of_work: ProofOfWork

    def __init__(self, bounds: Bounds, deadline: Deadline, proxy: str | None) -> None:
        self._handlers = guarded_handlers(bounds, deadline)
        super().__init__(_parameters(proxy, bounds.request_seconds), auto_init=False)

    def build_request_director(self, _handlers: Any, preferences: Any = None) -> Any:
        return super().build_request_director(self._handlers, preferences)


class _Silence:
    """yt-dlp's logger: failures travel as data, and its notes would hold URLs."""

    def debug(self, message: str) -> None:
        """Drop it."""

    info = warning = error = debug


def _parameters(proxy: str | None, request_seconds: float) -> dict[str, Any]:
    return {
        "cachedir": False,
        "check_formats": False,
        "color": "no_color",
        "extractor_retries": 0,
        "geo_bypass": False,
        "ignoreerrors": False,
        "js_runtimes": {},
        "logger": _Silence(),
        "no_warnings": True,
        "noprogress": True,
        # None would mean: as the environment says.
        "proxy": proxy or "",
        "quiet": True,
        "retries": 0,
        "socket_timeout": request_seconds,
    }
