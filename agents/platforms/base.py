"""Base class of platforms whose pages yt-dlp's extractors read."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from msgspec.structs import replace

from agents.accounts.interface import Account
from agents.engine.interface import EngineError, EngineFailure, EngineJob, EngineResult, Extractor
from agents.network.download import Fetched, MediaFetcher
from agents.network.transfer import FetchLimits
from agents.platforms import description, formats
from agents.platforms.failure_predicates import FailureRow
from agents.platforms.failures import to_clipmill_error
from agents.platforms.fields import Fields, decode_raw, text
from agents.platforms.formats import read_expiry
from agents.platforms.interface import DEFAULT_LIMITS, Capabilities, OnProgress, ShortLink, Target
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import Listing, ListingRef
from schemas.video import Extraction, MediaSource, VideoFormat, VideoInfo, VideoRef

_PLAYLIST_TYPES = frozenset({"playlist", "multi_video"})

_REDIRECT_TYPES = frozenset({"url", "url_transparent"})


def utc_now() -> datetime:
    return datetime.now(UTC)


class BasePlatform(ABC):
    """A `Platform` of single videos, read by the general readers. Stateless.

    A subclass implements `parse_url`, and overrides what its site does differently.

    Args:
        clock: time source of ``extracted_at``.

    Attributes:
        capabilities: hosts and extractors; the first extractor reads the page of a video.
        site: display name in error texts.
        failures: failure table, see `agents.platforms.failures.failure_table`.
        account_cookies: names of the cookies that media hosts require, and that do not identify an
            account.
    """

    capabilities: Capabilities
    site: str
    failures: Sequence[FailureRow]
    account_cookies: frozenset[str] = frozenset()

    def __init__(self, clock: Callable[[], datetime] = utc_now) -> None:
        self._clock = clock

    @abstractmethod
    def parse_url(self, url: str) -> Target | ShortLink:
        """See `Platform.parse_url`."""

    def get_capabilities(self) -> Capabilities:
        return self.capabilities

    def with_media_hosts(self, suffixes: tuple[str, ...]) -> Self:
        """Return a copy that also permits downloads from hosts with these suffixes."""
        extended = copy.copy(self)
        permitted = self.capabilities.media_hosts + suffixes
        extended.capabilities = replace(self.capabilities, media_hosts=permitted)
        return extended

    def is_valid_url(self, url: str) -> bool:
        """Return whether the URL is on one of the page hosts; `parse_url` may still reject it."""
        hosts = self.capabilities.page_hosts
        try:
            return parse_link(url, known_hosts=hosts).host in hosts
        except ClipmillError:
            return False

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

        Raises:
            ClipmillError: mapped by the failure table, or raised by `check_page`.
        """
        job = EngineJob(
            url=self.page_url(video),
            extractor=self.capabilities.extractors[0],
            deadline_seconds=deadline_seconds,
            cookies=account.cookies if account else (),
            egress=egress,
        )
        result = await self.extract(job, video, engine)
        cookies = result.cookies
        if account is not None:
            # Any other cookie that the page sets for an account may open its session.
            cookies = tuple(each for each in cookies if each.name in self.account_cookies)
        extraction = Extraction(
            raw=result.raw,
            engine=result.versions,
            extracted_at=self._clock(),
            cookies=cookies,
        )
        self.check_page(decode_raw(extraction.raw), video)
        return extraction

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
        """Reject: no kind of listing is supported.

        Raises:
            ClipmillError: ``content.unsupported``.
        """
        del engine, egress, deadline_seconds, limit, account
        message = f"{listing.url}: {self.site} has no listings."
        raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message)

    def describe(
        self, video: VideoRef, extraction: Extraction, sources: tuple[MediaSource, ...]
    ) -> VideoInfo:
        """Return the extraction as a `VideoInfo`, with the formats of its sources.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        offered = tuple(source.format for source in sources)
        return self.read_info(decode_raw(extraction.raw), video, offered)

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return the media URL of each format.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        return formats.read_sources(decode_raw(extraction.raw), extraction.cookies)

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
        hosts = self.capabilities.media_hosts
        return await fetcher.fetch(source, target, hosts=hosts, limits=limits, on_bytes=on_progress)

    def page_url(self, video: VideoRef) -> str:
        """Return the URL that the extractor reads."""
        return video.url

    def check_page(self, fields: Fields, video: VideoRef) -> None:
        """Verify that the info dictionary describes a single video with a file.

        Raises:
            ClipmillError: ``content.unsupported``, it is a playlist or refers to another page;
                ``content.no_formats``, the page has no downloadable file.
        """
        check_single_video(fields, video)
        if not formats.read_sources(fields):
            raise formats.no_formats_error(fields, video, self.site)

    def read_info(
        self, fields: Fields, video: VideoRef, offered: tuple[VideoFormat, ...]
    ) -> VideoInfo:
        return description.read_info(fields, video, offered, site=self.site)

    def to_error(self, failure: EngineFailure, subject: VideoRef | ListingRef) -> ClipmillError:
        """Return the error of a failed extraction of a post or listing."""
        return to_clipmill_error(failure, subject, site=self.site, table=self.failures)

    async def extract(
        self, job: EngineJob, subject: VideoRef | ListingRef, engine: Extractor
    ) -> EngineResult:
        """Run an extractor.

        Raises:
            ClipmillError: the engine failed; mapped by `to_error`.
        """
        try:
            return await engine.extract(job)
        except EngineError as error:
            raise self.to_error(error.failure, subject) from None


def check_single_video(fields: Fields, video: VideoRef) -> None:
    """Verify that the dictionary describes a single video.

    Raises:
        ClipmillError: ``content.unsupported``; it is a playlist, or redirects to another page.
    """
    kind = text(fields, "_type", limit=20) or "video"
    if kind in _PLAYLIST_TYPES:
        raise _unsupported(video, "its page has several videos, and only single ones are supported")
    if kind in _REDIRECT_TYPES:
        target = _host(text(fields, "url", limit=2_048) or "")
        raise _unsupported(
            video, f"its page leads to {target}, which no extractor of the platform reads"
        )


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "another page")[:253]
    except ValueError:
        return "another page"


def _unsupported(video: VideoRef, reason: str) -> ClipmillError:
    message = f"{video.platform} video {video.id}: {reason}."
    return ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message, reason=reason)
