"""Log deduplication: the first line at once, then counts once a minute, and one at the end.

Client libraries log every connection attempt to an unavailable broker: nine consumers wrote 31,000
lines in a minute. Lines with one key (logger, level, message template, types of logged errors) form
an episode, which ends after a quiet time.
"""

import asyncio
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType

log = logging.getLogger(__name__)

FOLDED = (
    *("aiokafka", "faust", "mode", "redis", "urllib3"),
    *(
        "agents.engine.supervisor",
        "streams.runtime.housekeeping",
        "streams.runtime.stage_runner",
        "streams.cluster.shared_state",
    ),
    *(
        "streams.runtime.consumption",
        "streams.runtime.processor",
        "streams.faust_driver.consumer",
        "streams.faust_driver.static_member",
    ),
)
"""Loggers of client libraries, and ours that log per attempt or per record."""

REPORT_SECONDS = 60.0
QUIET_SECONDS = 30.0
"""Time without a line that ends an episode. aiokafka requests time out after 20 s or more."""

SWEEP_SECONDS = 5.0
EPISODES_MAX = 200
"""Concurrent episodes; beyond it the one that was quiet for longest ends (LRU)."""

TEXT_CHARACTERS = 160
"""Length of an episode's first line in reports."""

_DIGITS = re.compile(r"\d+")
_ARGUMENTS = re.compile(r"%\W*\w")

EpisodeKey = tuple[str, int, str, tuple[str, ...]]


@dataclass(slots=True)
class _Episode:
    text: str
    began: float
    latest: float
    folded: int = 0
    unreported: int = 0


class LogFolding(logging.Filter):
    """Handler filter that passes the first line of an episode and counts the others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._episodes: dict[EpisodeKey, _Episode] = {}
        self._ended: list[str] = []
        self._unreported_since: float | None = None
        # Consumers log from their own threads.
        self._lock = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        if not _is_folded(record.name):
            return True
        key, now = episode_key(record), self._clock()
        with self._lock:
            episode = self._episodes.pop(key, None)
            is_first = episode is None
            if episode is None:
                self._evict()
                text = f"{record.name}: {record.getMessage()}"
                episode = _Episode(_truncated(text), began=now, latest=now)
            else:
                episode.folded += 1
                episode.unreported += 1
                if self._unreported_since is None:
                    self._unreported_since = now
            episode.latest = now
            # Reinserted at the end: the dictionary is in LRU order.
            self._episodes[key] = episode
        return is_first

    def report(self, *, final: bool = False) -> list[str]:
        """Return the due lines: for ended episodes, and once a minute for all."""
        now = self._clock()
        with self._lock:
            for key, episode in list(self._episodes.items()):
                if final or now - episode.latest >= QUIET_SECONDS:
                    self._end(key)
            lines = [f"no more repeats of {'; '.join(self._ended)}"] if self._ended else []
            self._ended.clear()
            since = self._unreported_since
            if since is not None and now - since >= REPORT_SECONDS:
                lines += self._counts(now - since)
                self._unreported_since = None
        return lines

    def _counts(self, seconds: float) -> list[str]:
        repeated = [each for each in self._episodes.values() if each.unreported]
        repeated.sort(key=lambda each: each.unreported, reverse=True)
        parts = [f"{each.unreported} times {each.text}" for each in repeated]
        for episode in repeated:
            episode.unreported = 0
        return [f"repeated in the last {seconds:.0f} s: {'; '.join(parts)}"] if parts else []

    def _evict(self) -> None:
        if len(self._episodes) >= EPISODES_MAX:
            self._end(next(iter(self._episodes)))

    def _end(self, key: EpisodeKey) -> None:
        episode = self._episodes.pop(key)
        if episode.folded:
            seconds = episode.latest - episode.began
            self._ended.append(f"{episode.text} ({episode.folded} in {seconds:.0f} s)")


def episode_key(record: logging.LogRecord) -> EpisodeKey:
    """Return the deduplication key of a line."""
    template = str(record.msg)
    if not _has_words(template):
        template = _DIGITS.sub("#", record.getMessage())
    arguments = record.args if isinstance(record.args, tuple) else ()
    return record.name, record.levelno, template, (*_errors(arguments), *_origin(record.exc_info))


def _is_folded(logger: str) -> bool:
    return any(logger == each or logger.startswith(f"{each}.") for each in FOLDED)


def _has_words(template: str) -> bool:
    """Return whether a message template has text beside its placeholders."""
    return any(character.isalpha() for character in _ARGUMENTS.sub("", template))


def _errors(arguments: Iterable[object]) -> Iterable[str]:
    for argument in arguments:
        if isinstance(argument, OSError):
            yield f"{type(argument).__name__} {argument.errno}"
        elif isinstance(argument, BaseException):
            yield type(argument).__name__
        elif isinstance(argument, type):
            yield argument.__name__


def _origin(
    info: tuple[type[BaseException], BaseException, TracebackType | None]
    | tuple[None, None, None]
    | None,
) -> Iterable[str]:
    """Yield the type of a logged exception, and the line that raised it."""
    if not info or info[0] is None:
        return
    yield info[0].__name__
    traceback = info[2]
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is not None:
        yield f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"


def _truncated(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARACTERS else line[:TEXT_CHARACTERS] + "…"


async def report_repeats() -> None:
    """Write the due reports of all handlers until cancelled, then the final ones."""
    foldings = [
        each
        for handler in logging.getLogger().handlers
        for each in handler.filters
        if isinstance(each, LogFolding)
    ]
    try:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            _write(foldings)
    finally:
        _write(foldings, final=True)


def _write(foldings: Iterable[LogFolding], *, final: bool = False) -> None:
    for folding in foldings:
        for line in folding.report(final=final):
            log.warning("%s", line)
