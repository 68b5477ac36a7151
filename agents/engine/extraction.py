"""Job runner of one worker thread: runs yt-dlp's extractors, and never raises.

Contract with extractors: an attribute ``facts: dict[str, str]`` holds what an extractor knows about
a failure beyond its exception; the runner empties it before every job and adds it to the failure.
Proof-of-work challenges of a page are solved by ``proof_of_work`` of the downloader, and a page's
programs are run by its ``javascript``.
"""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec.structs import replace
from yt_dlp import YoutubeDL

from agents.confinement.limits import is_memory_exhausted
from agents.engine.extractors import load_extractor, repeat_initialization
from agents.engine.failures import flatten
from agents.engine.handlers import guarded_handlers
from agents.engine.javascript import JavaScript
from agents.engine.javascript_support import javascript_support
from agents.engine.proof_of_work import ProofOfWork
from agents.engine.protocol import Assignment, JobFailed, JobFinished
from agents.engine.request_bounds import Bounds, Deadline
from agents.engine.results import (
    NotAResultError,
    ResultTooLargeError,
    add_cookies,
    cookies_for,
    to_json,
)
from agents.engine.subtitles import tolerate_failures, with_bounded_subtitles

ENTRY_KEYS = (
    *("_type", "id", "url", "webpage_url", "ie_key", "title", "timestamp", "release_timestamp"),
    *("upload_date", "duration", "uploader", "uploader_id", "channel", "channel_id", "view_count"),
)
"""Keys kept of an entry; with more, a thousand entries would exceed the size of a result."""

COMPLETE = "clipmill_complete"
"""Key of the result: true when the playlist has no entries beyond those read."""

_PLAYLISTS = frozenset({"playlist", "multi_video"})

_END = object()

_SUBTITLE_PARAMETERS = ("writesubtitles", "writeautomaticsub")
"""Parameters of yt-dlp by which extractors look for subtitles."""


class JobRunner:
    """Extractors and their `YoutubeDL`, one per egress. For one thread: neither is thread-safe.

    Args:
        bounds: limits of every request.
        proxies: proxy URL by egress. Each egress has its own `YoutubeDL`, made on first use
            (1.3 ms), so that its connections are reused.
        javascript: whether programs of pages are run, if that is installed.
    """

    def __init__(
        self, bounds: Bounds, proxies: Mapping[str, str | None], *, javascript: bool = True
    ) -> None:
        self._bounds = bounds
        self._proxies = proxies
        self._deadline = Deadline()
        self._proof_of_work = ProofOfWork(self._deadline)
        self._javascript = JavaScript(self._deadline, enabled=javascript)
        self._sessions: dict[str, _ExtractorSession] = {}

    def run(self, assignment: Assignment) -> JobFinished | JobFailed:
        facts: dict[str, str] = {}
        seconds = self._proof_of_work.seconds = []
        try:
            return self._extract(assignment, facts)
        except BaseException as error:  # noqa: BLE001 - foreign code: any error fails the job
            failure = flatten(error, facts)
            # yt-dlp suppresses a MemoryError while it looks for request handlers, for example.
            if is_memory_exhausted():
                failure = replace(failure, types=(*failure.types, MemoryError.__name__))
            return JobFailed(
                number=assignment.number, failure=failure, challenge_seconds=tuple(seconds)
            )

    def close(self) -> None:
        for session in self._sessions.values():
            session.ydl.close()

    def _extract(self, assignment: Assignment, facts: dict[str, str]) -> JobFinished:
        job = assignment.job
        session = self._session(job.egress)
        extractor = session.extractor(job.extractor)
        self._deadline.start(assignment.seconds)
        jar = session.ydl.cookiejar
        jar.clear()
        add_cookies(jar, job.cookies)
        if hasattr(extractor, "facts"):
            extractor.facts = facts
        session.ydl.params |= dict.fromkeys(_SUBTITLE_PARAMETERS, job.subtitles)
        repeat_initialization(extractor)
        result = read_entries(extractor.extract(job.url), job.entries_max, self._deadline)
        return JobFinished(
            number=assignment.number,
            raw=_to_json(result, subtitles=job.subtitles),
            cookies=cookies_for(job.url, jar),
            challenge_seconds=tuple(self._proof_of_work.seconds),
        )

    def _session(self, egress: str) -> "_ExtractorSession":
        if egress not in self._sessions:
            ydl = _EngineDL(self._bounds, self._deadline, self._proxies[egress])
            ydl.proof_of_work = self._proof_of_work
            ydl.javascript = self._javascript
            self._sessions[egress] = _ExtractorSession(ydl)
        return self._sessions[egress]


def _to_json(result: Any, *, subtitles: bool) -> bytes:
    """Return a result as JSON, without its subtitles if it is too large with them."""
    try:
        return to_json(with_bounded_subtitles(result, wanted=subtitles))
    except ResultTooLargeError:
        if not subtitles:
            raise
        return _to_json(result, subtitles=False)


def warm_up(extractors: list[str]) -> None:
    """Import and construct everything once, so that forked processes start warm."""
    javascript_support()
    for name in extractors:
        load_extractor(name)
    YoutubeDL(_parameters(None, 1.0), auto_init=False).close()


class _ExtractorSession:
    """A `YoutubeDL` with its cache of extractors."""

    def __init__(self, ydl: YoutubeDL) -> None:
        self.ydl = ydl
        self._extractors: dict[str, Any] = {}

    def extractor(self, name: str) -> Any:
        if name not in self._extractors:
            extractor = load_extractor(name)()
            self.ydl.add_info_extractor(extractor)
            tolerate_failures(extractor)
            self._extractors[name] = extractor
        return self._extractors[name]


class _EngineDL(YoutubeDL):
    """A `YoutubeDL` with the guarded handlers and only the extractors added to it.

    Attributes:
        proof_of_work: solves the challenges of pages, for extractors.
        javascript: runs the programs of pages, for extractors.
    """

    proof_of_work: ProofOfWork
    javascript: JavaScript

    def __init__(self, bounds: Bounds, deadline: Deadline, proxy: str | None) -> None:
        self._handlers = guarded_handlers(bounds, deadline)
        super().__init__(_parameters(proxy, bounds.request_seconds), auto_init=False)

    def build_request_director(self, _handlers: Any, preferences: Any = None) -> Any:
        return super().build_request_director(self._handlers, preferences)


class _NullLogger:
    """Logger for yt-dlp that drops all: failures are data, and its messages hold URLs."""

    def debug(self, message: str) -> None:
        pass

    info = warning = error = debug


def _parameters(proxy: str | None, request_seconds: float) -> dict[str, Any]:
    return {
        "cachedir": False,
        "check_formats": False,
        "color": "no_color",
        # Otherwise YouTube lists every language in the translation of every other one.
        "extractor_args": {"youtube": {"skip": ["translated_subs"]}},
        "extractor_retries": 0,
        "geo_bypass": False,
        "ignoreerrors": False,
        "js_runtimes": {},
        "logger": _NullLogger(),
        "no_warnings": True,
        "noprogress": True,
        # None would use the proxies of the environment.
        "proxy": proxy or "",
        "quiet": True,
        "retries": 0,
        "socket_timeout": request_seconds,
    }


def read_entries(result: Any, entries_max: int | None, deadline: Deadline) -> Any:
    """Return a playlist with its first entries as a list; any other result unchanged.

    Extractors yield entries one by one and request the next page at the end of one. After the last
    entry read, one more is fetched with the deadline expired, so that no request is possible:
    `COMPLETE` costs no request, and is false when only a request could decide it.

    Args:
        result: of the extractor.
        entries_max: limit of entries. None: no playlist is expected; one whose entries are a list
            already is returned unchanged.
        deadline: of the requests; expired afterwards.

    Raises:
        NotAResultError: the entries would need requests, and `entries_max` is None.
        Exception: of the extractor, on an entry within the limit.
    """
    if not isinstance(result, dict) or result.get("_type") not in _PLAYLISTS:
        return result
    all_entries = result.get("entries")
    if entries_max is None:
        return _unexpected_playlist(result, all_entries)
    # yt-dlp's `PagedList` has no `__iter__`; `iter` uses its `__getitem__`.
    source = iter(() if all_entries is None else all_entries)
    entries = [_reduced(entry) for entry in itertools.islice(source, entries_max)]
    kept = [entry for entry in entries if entry is not None]
    return {**result, "entries": kept, COMPLETE: _is_exhausted(source, deadline)}


def _unexpected_playlist(result: dict[str, Any], all_entries: Any) -> dict[str, Any]:
    if all_entries is None or isinstance(all_entries, list | tuple):
        return result
    raise NotAResultError("the extractor returned a playlist, and the job asks for no entries")


def _is_exhausted(source: Iterator[Any], deadline: Deadline) -> bool:
    deadline.expire()
    try:
        entry = next(source, _END)
    except Exception:  # noqa: BLE001 - extractors raise various errors without their page
        return False
    # An extractor may take the failed request of a page for an empty page.
    return entry is _END and not deadline.exceeded


def _reduced(entry: Any) -> dict[str, Any] | None:
    if not isinstance(entry, dict):
        return None
    return {key: entry[key] for key in ENTRY_KEYS if key in entry}
