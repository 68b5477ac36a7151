"""Interface of the extraction engine for platforms: job, result, failure."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from agents.network.egress import DIRECT
from schemas.video import Cookie, EngineVersions

YT_DLP = "yt-dlp"
"""Prefix for yt-dlp's own extractors, in place of a module."""


class EngineJob(msgspec.Struct, frozen=True, kw_only=True):
    """One extraction.

    Attributes:
        url: canonical page URL.
        extractor: dotted name ``package.module:Class`` of the yt-dlp extractor class to use, or
            `YT_DLP`, a colon and the names of yt-dlp's own extractors, with commas between them.
        deadline_seconds: wall time of the whole extraction; the process is killed after it.
        cookies: sent with its requests.
        egress: name of the egress.
        entries_max: entries of a playlist to read; pages beyond them are not requested. None: no
            playlist is expected.
        subtitles: also extract those, which may need requests of its own; otherwise the result has
            none.
    """

    url: str
    extractor: str
    deadline_seconds: float = 30.0
    cookies: tuple[Cookie, ...] = ()
    egress: str = DIRECT
    entries_max: int | None = None
    subtitles: bool = False


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """The extractor's info dictionary as JSON, and the cookies that its pages set."""

    raw: msgspec.Raw
    cookies: tuple[Cookie, ...]
    versions: EngineVersions


class EngineFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed extraction as plain data, to be sent between processes and stored as a sample.

    Attributes:
        types: class names of the exception and its causes, outermost first.
        message: text of the outermost error that the extractor recognized, else of its innermost
            one, without colour codes.
        status: HTTP status, if any.
        retry_after: the ``Retry-After`` header, unparsed.
        errno: of the first OSError in the chain.
        curl_code: libcurl's error number.
        facts: recorded by the extractor, such as TikTok's ``status_code`` and ``status_message``.
    """

    types: tuple[str, ...]
    message: str
    status: int | None = None
    retry_after: str | None = None
    errno: int | None = None
    curl_code: int | None = None
    facts: Mapping[str, str] = {}


class EngineError(Exception):
    """An extraction failed, as described by `failure`.

    The engine's own failures have a single type: ``EngineTimeout`` (deadline exceeded),
    ``EngineCrash`` (its process was lost, on the retry with no other job in it), ``EngineClosed``
    (the engine is not running), ``JobTooLarge`` (with its cookies it exceeds a frame). In a longer
    chain of types, ``PageTooLargeError`` is a response over the limit and ``AddressRefusedError``
    an address that is not public.
    """

    def __init__(self, failure: EngineFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Extractor(Protocol):
    """Runs yt-dlp's extractors isolated from the caller."""

    async def extract(self, job: EngineJob) -> EngineResult:
        """Run a job.

        Raises:
            EngineError: the extractor failed, or its process died or was killed.
        """
        ...
