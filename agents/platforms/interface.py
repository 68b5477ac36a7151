"""What a platform must offer. A new platform is one class with these methods and an entry point."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from agents.accounts.interface import Account
from agents.engine.interface import Extractor
from agents.network.download import Fetched, FetchLimits, MediaFetcher
from schemas.listing import Listing, ListingKind, ListingRef
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a platform can do, and the hosts that it may be reached at.

    Attributes:
        name: first part of every video key.
        page_hosts: hosts of all links that the platform accepts, those of short links included,
            lower case. No two platforms may share one.
        link_hosts: hosts that a short link may pass through while it is resolved.
        media_hosts: suffixes of hosts that media may come from, each with its leading dot.
        content: kinds of posts that are understood: ``video``, …
        listings: kinds of pages with many posts that are understood.
        extractors: names of the extractors that it has the engine run, as in `EngineJob`, to be
            loaded beforehand. Those of yt-dlp are checked when the engine starts.
    """

    name: str
    page_hosts: tuple[str, ...]
    link_hosts: tuple[str, ...]
    media_hosts: tuple[str, ...]
    content: tuple[str, ...] = ("video",)
    listings: tuple[ListingKind, ...] = ()
    extractors: tuple[str, ...] = ()


class ShortLink(msgspec.Struct, frozen=True, kw_only=True):
    """A link that only the platform's server can turn into a video's URL."""

    url: str


Target = VideoRef | ListingRef
"""What a link is about: one post, or a page that lists many."""


OnProgress = Callable[[int, int | None], None]
"""Called with (bytes so far, total bytes or None)."""


UNTUNED = FetchLimits()
"""Bounds of a download when the caller sets none."""


class Platform(Protocol):
    """One video platform. Stateless: the tools that do the work are handed in."""

    def get_capabilities(self) -> Capabilities:
        """Return what the platform can do."""
        ...

    def is_valid_url(self, url: str) -> bool:
        """Return whether this platform is responsible for the URL. Never raises."""
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
            video: which one.
            engine: reads it.
            egress: name of the way out to take.
            deadline_seconds: wall time for everything.
            account: to read it as. Its cookies must not be in the extraction, which travels,
                but for those that media is served only with. What the page sets anew is given
                to it by the engine that is handed in.

        Raises:
            ClipmillError: with the platform's own reason mapped to one of our codes.
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
            ClipmillError: with the platform's own reason mapped to one of our codes.
        """
        ...

    def describe(self, video: VideoRef, extraction: Extraction) -> VideoInfo:
        """Return the extraction as a `VideoInfo` (pure)."""
        ...

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return where the bytes of each format are (pure), formats as in `describe`."""
        ...

    def get_expiry_seconds(self, extraction: Extraction) -> float | None:
        """Return the epoch second at which the media links stop working, None when unknown."""
        ...

    async def download_video(
        self,
        source: MediaSource,
        target: Path,
        fetcher: MediaFetcher,
        on_progress: OnProgress,
        *,
        limits: FetchLimits = UNTUNED,
    ) -> Fetched:
        """Fetch one format into `target`.

        Raises:
            ClipmillError: the fetch failed; a 403 is ``content.link_expired``.
        """
        ...
