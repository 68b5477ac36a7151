"""What a platform asks of the extraction engine."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from agents.network.egress import DIRECT
from schemas.video import Cookie, EngineVersions

YT_DLP = "yt-dlp"
"""In place of a module: extractors that yt-dlp brings, by the names that it gives them."""


class EngineJob(msgspec.Struct, frozen=True, kw_only=True):
    """One extraction.

    Attributes:
        url: canonical page URL.
        extractor: dotted name ``package.module:Class`` of the yt-dlp extractor class to use, or
            `YT_DLP`, a colon and the names of yt-dlp's own extractors, with commas between them.
        deadline_seconds: wall time for the whole extraction; behind it the process is killed.
        cookies: sent along.
        egress: name of the way out to take.
        entries_max: how many entries of a playlist are wanted; no more are asked for. None: it
            is no playlist.
    """

    url: str
    extractor: str
    deadline_seconds: float = 30.0
    cookies: tuple[Cookie, ...] = ()
    egress: str = DIRECT
    entries_max: int | None = None


class EngineResult(msgspec.Struct, frozen=True, kw_only=True):
    """The extractor's dictionary as JSON, and the cookies that its pages set."""

    raw: msgspec.Raw
    cookies: tuple[Cookie, ...]
    versions: EngineVersions


class EngineFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed extraction as plain data, so that it can cross processes and be kept as a sample.

    Attributes:
        types: class names of the exception and its causes, outermost first.
        message: text of the innermost error of the extractor, without colour codes.
        status: HTTP status, when there is one.
        retry_after: the ``Retry-After`` header, unparsed.
        errno: of an OSError in the chain.
        curl_code: libcurl's error number.
        facts: what the extractor's own seam noted, such as TikTok's ``status_code`` and
            ``status_message``.
    """

    types: tuple[str, ...]
    message: str
    status: int | None = None
    retry_after: str | None = None
    errno: int | None = None
    curl_code: int | None = None
    facts: Mapping[str, str] = {}


class EngineError(Exception):
    """An extraction failed; `failure` says how.

    The engine's own failures have a single type: ``EngineTimeout`` (not done before its deadline),
    ``EngineCrash`` (its process was lost, at last while it was alone in it), ``EngineClosed`` (the
    engine is not running), ``JobTooLarge`` (for its cookies, it cannot be handed to a process). In
    a longer chain of types, ``PageTooLargeError`` is a response over the cap and
    ``AddressRefusedError`` an address that is not public.
    """

    def __init__(self, failure: EngineFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class Extractor(Protocol):
    """Runs yt-dlp extractors somewhere safe."""

    async def extract(self, job: EngineJob) -> EngineResult:
        """Return what the extractor found.

        Raises:
            EngineError: the extractor failed, or its process died or was killed.
        """
        ...
