"""The interface of a platform plug-in: one class with these methods, and an entry point.

The stages find the implementations through `agents.platforms.registry`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from agents.accounts.interface import Account
from agents.engine.interface import Extractor
from agents.network.download import Fetched, MediaFetcher
from agents.network.transfer import FetchLimits
from schemas.listing import Listing, ListingKind, ListingRef
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """Supported features of a platform, and the hosts that requests for it may reach.

    Attributes:
        name: first part of every video key.
        page_hosts: hosts of all links that the platform accepts, including those of short links,
            lower case. A host belongs to one platform only. Links on hosts that the settings add
            are read as links on the first one.
        link_hosts: hosts that a short link may pass through while it is resolved.
        media_hosts: suffixes of hosts that may serve media, each with its leading dot.
        content: supported kinds of posts: ``video``, …
        listings: supported kinds of listings.
        extractors: names of the extractors that the platform uses, as in `EngineJob`. The engine
            preloads them, and validates those of yt-dlp when it starts.
        javascript: some of its posts need programs of the page to be run.
    """

    name: str
    page_hosts: tuple[str, ...]
    link_hosts: tuple[str, ...]
    media_hosts: tuple[str, ...]
    content: tuple[str, ...] = ("video",)
    listings: tuple[ListingKind, ...] = ()
    extractors: tuple[str, ...] = ()
    javascript: bool = False


class ShortLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that only the platform's server can resolve."""

    url: str


Target = VideoRef | ListingRef
"""Resolved link: one post, or a listing of many."""


OnProgress = Callable[[int, int | None], None]
"""Progress callback: bytes so far, total bytes or None."""


DEFAULT_LIMITS = FetchLimits()
"""Limits of a download when the caller sets none."""


class Platform(Protocol):
    """One video platform. Stateless: engine and fetcher are arguments of the calls."""

    def get_capabilities(self) -> Capabilities: ...

    def is_valid_url(self, url: str) -> bool:
        """Return whether the URL is on a host of the platform. Never raises."""
        ...

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the canonical post or listing, or the short link that has to be resolved first.

        Raises:
            ClipmillError: ``request.invalid`` or ``content.unsupported``, with the reason.
        """
        ...

    async def get_video_info(
        self,
        video: VideoRef,
        engine: Extractor,
        *,
        egress: str,
        deadline_seconds: float,
        account: Account | None = None,
    ) -> Extraction:
        """Read the video's page.

        Args:
            video: video to read.
            engine: runs the extractor.
            egress: name of the egress of the page's requests.
            deadline_seconds: wall time for the whole call.
            account: account whose session is used. Of its cookies the extraction, which is
                published, may contain only the ones that media hosts require. Cookies that the page
                sets are returned to the session by the engine that is passed in.

        Raises:
            ClipmillError: the failure, with the platform's own reason mapped to an error code.
        """
        ...

    async def get_listing(
        self,
        listing: ListingRef,
        engine: Extractor,
        *,
        egress: str,
        deadline_seconds: float,
        limit: int,
        account: Account | None = None,
    ) -> Listing:
        """Read the first posts of a listing, at most ``limit``; otherwise as `get_video_info`.

        Raises:
            ClipmillError: the failure, with the platform's own reason mapped to an error code.
        """
        ...

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return the media URL of each format (pure)."""
        ...

    def describe(
        self, video: VideoRef, extraction: Extraction, sources: tuple[MediaSource, ...]
    ) -> VideoInfo:
        """Return the extraction as a `VideoInfo` (pure), with the formats of its sources."""
        ...

    def get_expiry_seconds(self, extraction: Extraction) -> float | None:
        """Return the epoch second at which the media links expire, None when unknown."""
        ...

    async def download_video(
        self,
        source: MediaSource,
        target: Path,
        fetcher: MediaFetcher,
        on_progress: OnProgress,
        *,
        limits: FetchLimits = DEFAULT_LIMITS,
    ) -> Fetched:
        """Fetch one format into `target`.

        Raises:
            ClipmillError: the fetch failed; a 403 is ``content.link_expired``.
        """
        ...
