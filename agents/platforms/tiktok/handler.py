"""Platform of TikTok: combines the modules of this package in one class."""

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
from agents.platforms.fields import decode_raw
from agents.platforms.interface import DEFAULT_LIMITS, Capabilities, OnProgress, ShortLink, Target
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
"""TikTok's own domains that serve the video, audio and pictures of its pages."""

MAX_REPORTED_HOSTS = 3
MAX_HOST_CHARACTERS = 100

MEDIA_COOKIES = frozenset({"tt_chain_token"})
"""Cookies that media hosts require; they do not identify an account."""

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
        clock: time source of ``extracted_at``.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._media_hosts: tuple[str, ...] = MEDIA_HOSTS

    def with_media_hosts(self, suffixes: tuple[str, ...]) -> Self:
        """Return a copy that also permits downloads from hosts with these suffixes."""
        extended = copy.copy(self)
        extended._media_hosts = MEDIA_HOSTS + suffixes  # noqa: SLF001 - its own class
        return extended

    def get_capabilities(self) -> Capabilities:
        return msgspec.structs.replace(CAPABILITIES, media_hosts=self._media_hosts)

    def is_valid_url(self, url: str) -> bool:
        """Return whether the URL is on one of TikTok's hosts; `parse_url` may still reject it."""
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
            ClipmillError: mapped by the table in `agents.platforms.tiktok.failures`;
                ``content.no_formats``, the page has no files; ``platform.changed``, all files are
                at hosts that are not known as TikTok's.
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
            cookies=_media_cookies(result.cookies) if account else result.cookies,
        )
        return self._check_files(video, extraction)

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
            ClipmillError: mapped by the same table; ``content.unsupported``, it is a playlist.
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
        return read_listing(decode_raw(result.raw), listing, limit)

    def describe(self, video: VideoRef, extraction: Extraction) -> VideoInfo:
        """Return the extraction as a `VideoInfo`.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        formats = tuple(source.format for source in self.get_media_sources(extraction))
        return read_info(decode_raw(extraction.raw), video, formats)

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return the media URL of each format, formats as in `describe`.

        Files at unknown hosts are left out, except pictures, each of which belongs to the post.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        sources = read_sources(decode_raw(extraction.raw), extraction.cookies)
        return tuple(each for each in sources if each.format.picture or self._has_known_host(each))

    def get_expiry_seconds(self, extraction: Extraction) -> float | None:
        """Return the epoch second at which the first media link expires, if it is known."""
        return read_expiry(self.get_media_sources(extraction))

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
        return await fetcher.fetch(
            source, target, hosts=self._media_hosts, limits=limits, on_bytes=on_progress
        )

    def _has_known_host(self, source: MediaSource) -> bool:
        return is_permitted(_host(source), self._media_hosts)

    def _check_files(self, video: VideoRef, extraction: Extraction) -> Extraction:
        sources = read_sources(decode_raw(extraction.raw))
        if not sources:
            message = f"TikTok video {video.id}: its page offers no file."
            raise ClipmillError(ErrorCode.CONTENT_NO_FORMATS, message, failure="no_formats")
        if not any(map(self._has_known_host, sources)):
            raise _unknown_hosts_error(video, sources)
        return extraction


async def _extract(
    engine: Extractor, job: EngineJob, subject: VideoRef | ListingRef
) -> EngineResult:
    try:
        return await engine.extract(job)
    except EngineError as error:
        raise to_clipmill_error(error.failure, subject) from None


def _media_cookies(cookies: tuple[Cookie, ...]) -> tuple[Cookie, ...]:
    """Return the cookies that media hosts require; any other may open the account's session."""
    return tuple(cookie for cookie in cookies if cookie.name in MEDIA_COOKIES)


def _host(source: MediaSource) -> str:
    return urlsplit(source.url).hostname or ""


def _unknown_hosts_error(video: VideoRef, sources: tuple[MediaSource, ...]) -> ClipmillError:
    hosts = sorted({_host(source)[:MAX_HOST_CHARACTERS] for source in sources})[:MAX_REPORTED_HOSTS]
    reason = (
        f"its files lie at {', '.join(hosts)}, where clipmill takes nothing of TikTok from;"
        " if that is right, add the host to platforms.tiktok.media_hosts"
    )
    return ClipmillError(
        ErrorCode.PLATFORM_CHANGED,
        f"TikTok video {video.id}: {reason}.",
        failure="unknown_hosts",
        reason=reason,
        hosts=", ".join(hosts),
    )
