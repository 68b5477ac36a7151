"""TikTok as a platform: the tools of this folder behind one class."""

import copy
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import msgspec

from agents.accounts.interface import Account
from agents.engine.interface import EngineError, EngineJob, EngineResult, Extractor
from agents.network.addresses import is_permitted
from agents.network.download import Fetched, FetchLimits, MediaFetcher
from agents.platforms.fields import open_raw
from agents.platforms.interface import UNTUNED, Capabilities, OnProgress, ShortLink, Target
from agents.platforms.tiktok.errors import to_clipmill_error
from agents.platforms.tiktok.formats import read_expiry, read_sources
from agents.platforms.tiktok.link_forms import HOSTS
from agents.platforms.tiktok.listings import EXTRACTORS, read_listing
from agents.platforms.tiktok.metadata import read_info
from agents.platforms.tiktok.urls import NAME, page_url, read_url
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import Listing, ListingRef
from schemas.video import Cookie, Extraction, MediaSource, VideoInfo, VideoRef

EXTRACTOR = "agents.platforms.tiktok.page:TikTokIE"

MEDIA_HOSTS = (
    ".tiktok.com",
    ".tiktokv.com",
    ".tiktokv.us",
    ".tiktokv.eu",
    ".tiktokcdn.com",
    ".tiktokcdn-us.com",
    ".tiktokcdn-eu.com",
)
"""Domains of TikTok's own from which pages have it load video, sound and pictures."""

MAX_HOSTS_TOLD = 3
MAX_HOST_CHARACTERS = 100

MEDIA_COOKIES = frozenset({"tt_chain_token"})
"""Cookies that media is served only with; they name no account."""

CAPABILITIES = Capabilities(
    name=NAME,
    page_hosts=HOSTS,
    link_hosts=HOSTS,
    media_hosts=MEDIA_HOSTS,
    content=("video", "photos"),
    listings=tuple(EXTRACTORS),
    extractors=(EXTRACTOR, *EXTRACTORS.values()),
)


class TikTok:
    """Videos, photo posts and stories of TikTok, its profiles and collections. Stateless.

    Args:
        clock: tells the time of an extraction.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._media_hosts: tuple[str, ...] = MEDIA_HOSTS

    def with_media_hosts(self, suffixes: tuple[str, ...]) -> Self:
        """Return the platform that also takes media from hosts with these suffixes."""
        extended = copy.copy(self)
        extended._media_hosts = MEDIA_HOSTS + suffixes  # noqa: SLF001 - its own class
        return extended

    def get_capabilities(self) -> Capabilities:
        """Return TikTok's hosts and what is understood of it."""
        return msgspec.structs.replace(CAPABILITIES, media_hosts=self._media_hosts)

    def is_valid_url(self, url: str) -> bool:
        """Return whether the URL is one of TikTok's hosts; `parse_url` may still refuse it."""
        try:
            return parse_link(url, known_hosts=HOSTS).host in HOSTS
        except ClipmillError:
            return False

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the canonical post or listing, or the short link that has to be resolved first.

        Raises:
            ClipmillError: ``request.invalid``, ``request.too_large`` or ``content.unsupported``.
        """
        return read_url(url)

    async def get_video_info(
        self,
        video: VideoRef,
        engine: Extractor,
        *,
        egress: str,
        deadline_seconds: float,
        account: Account | None = None,
    ) -> Extraction:
        """Read the page of a post.

        Raises:
            ClipmillError: what TikTok, the network or the engine says, by the table in
                `agents.platforms.tiktok.failures`; ``content.no_formats``, the page has no files;
                ``platform.changed``, all of them lie at hosts that are not known as TikTok's.
        """
        cookies = account.cookies if account else ()
        job = EngineJob(
            url=page_url(video),
            extractor=EXTRACTOR,
            deadline_seconds=deadline_seconds,
            cookies=cookies,
            egress=egress,
        )
        result = await _extract(engine, job, video)
        extraction = Extraction(
            raw=result.raw,
            engine=result.versions,
            extracted_at=self._clock(),
            cookies=_for_media(result.cookies) if account else result.cookies,
        )
        return self._with_files(video, extraction)

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
        """Read the first posts of a profile, newest first, or of a collection.

        Raises:
            ClipmillError: what TikTok, the network or the engine says, by the same table;
                ``content.unsupported``, it is a playlist.
        """
        if listing.kind not in EXTRACTORS:
            message = f"{listing.url}: no extractor reads TikTok's {listing.kind}s."
            raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message)
        job = EngineJob(
            url=listing.url,
            extractor=EXTRACTORS[listing.kind],
            deadline_seconds=deadline_seconds,
            cookies=account.cookies if account else (),
            egress=egress,
            entries_max=limit,
        )
        result = await _extract(engine, job, listing)
        return read_listing(open_raw(result.raw), listing, limit)

    def describe(self, video: VideoRef, extraction: Extraction) -> VideoInfo:
        """Return the extraction as a `VideoInfo`.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        formats = tuple(source.format for source in self.get_media_sources(extraction))
        return read_info(open_raw(extraction.raw), video, formats)

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return where the bytes of each format are, formats as in `describe`.

        Left out are files at unknown hosts, but for pictures, each of which belongs to the post.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        sources = read_sources(open_raw(extraction.raw), extraction.cookies)
        return tuple(each for each in sources if each.format.picture or self._is_known(each))

    def get_expiry_seconds(self, extraction: Extraction) -> float | None:
        """Return the epoch second at which the first media link stops working, if it is known."""
        return read_expiry(self.get_media_sources(extraction))

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
        return await fetcher.fetch(
            source, target, hosts=self._media_hosts, limits=limits, on_bytes=on_progress
        )

    def _is_known(self, source: MediaSource) -> bool:
        return is_permitted(_host(source), self._media_hosts)

    def _with_files(self, video: VideoRef, extraction: Extraction) -> Extraction:
        sources = read_sources(open_raw(extraction.raw))
        if not sources:
            message = f"TikTok video {video.id}: its page offers no file."
            raise ClipmillError(ErrorCode.CONTENT_NO_FORMATS, message, failure="no_formats")
        if not any(map(self._is_known, sources)):
            raise _unknown_hosts(video, sources)
        return extraction


async def _extract(
    engine: Extractor, job: EngineJob, subject: VideoRef | ListingRef
) -> EngineResult:
    try:
        return await engine.extract(job)
    except EngineError as error:
        raise to_clipmill_error(error.failure, subject) from None


def _for_media(found: tuple[Cookie, ...]) -> tuple[Cookie, ...]:
    """Return what media needs: all else may open an account, also what the page set for it."""
    return tuple(cookie for cookie in found if cookie.name in MEDIA_COOKIES)


def _host(source: MediaSource) -> str:
    return urlsplit(source.url).hostname or ""


def _unknown_hosts(video: VideoRef, sources: tuple[MediaSource, ...]) -> ClipmillError:
    found = sorted({_host(source)[:MAX_HOST_CHARACTERS] for source in sources})[:MAX_HOSTS_TOLD]
    reason = (
        f"its files lie at {', '.join(found)}, where clipmill takes nothing of TikTok from;"
        " if that is right, add the host to platforms.tiktok.media_hosts"
    )
    return ClipmillError(
        ErrorCode.PLATFORM_CHANGED,
        f"TikTok video {video.id}: {reason}.",
        failure="unknown_hosts",
        reason=reason,
        hosts=", ".join(found),
    )
