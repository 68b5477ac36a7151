"""Base class of a platform with single videos, whose pages one extractor reads."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from agents.accounts.interface import Account
from agents.engine.interface import EngineFailure, Extractor
from agents.network.download import Fetched, FetchLimits, MediaFetcher
from agents.platforms.description import read_info
from agents.platforms.errors import to_clipmill_error
from agents.platforms.expiry import read_expiry
from agents.platforms.extraction import ReadOptions, read_page
from agents.platforms.failure_predicates import Row
from agents.platforms.fields import Fields, decode_raw
from agents.platforms.formats import no_formats_error, read_sources
from agents.platforms.interface import DEFAULT_LIMITS, Capabilities, OnProgress, ShortLink, Target
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import Listing, ListingRef
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef


class BasePlatform(ABC):
    """A `Platform` with everything but the parsing of links. Stateless.

    Args:
        clock: time source of ``extracted_at``.

    Attributes:
        capabilities: set by the subclass, as are the others.
        site: display name, for texts.
        failures: failure table of the site, from `failure_table`.
    """

    capabilities: Capabilities
    site: str
    failures: tuple[Row, ...]

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock

    @abstractmethod
    def parse_url(self, url: str) -> Target | ShortLink:
        """See `Platform.parse_url`."""

    @property
    def extractor(self) -> str:
        """Name of the extractor that reads a page, as in `EngineJob`: the first one."""
        return self.capabilities.extractors[0]

    def check_page(self, fields: Fields, video: VideoRef) -> None:  # noqa: B027
        """Raise `ClipmillError` if the page is not that of the video; accepts every page."""

    def get_capabilities(self) -> Capabilities:
        return self.capabilities

    def is_valid_url(self, url: str) -> bool:
        """Return whether the URL is on a host of the platform; `parse_url` may still reject it."""
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
            ClipmillError: mapped by the failure table; from `check_page`; or
                ``content.no_formats``, the page has no downloadable file.
        """
        options = ReadOptions(
            egress=egress, deadline_seconds=deadline_seconds, account=account, clock=self._clock
        )

        def to_error(failure: EngineFailure) -> ClipmillError:
            return to_clipmill_error(failure, video, site=self.site, table=self.failures)

        extraction = await read_page(video, engine, self.extractor, options, to_error)
        fields = decode_raw(extraction.raw)
        self.check_page(fields, video)
        if not self.get_media_sources(extraction):
            raise no_formats_error(fields, video, self.site)
        return extraction

    async def get_listing(
        self, listing: ListingRef, engine: Extractor, **_kwargs: object
    ) -> Listing:
        """Reject: no kind of listing is supported.

        Raises:
            ClipmillError: ``content.unsupported``.
        """
        del engine
        message = f"{listing.url}: {self.site} has no listings."
        raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message)

    def describe(self, video: VideoRef, extraction: Extraction) -> VideoInfo:
        """Return the extraction as a `VideoInfo`.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        formats = tuple(source.format for source in self.get_media_sources(extraction))
        return read_info(decode_raw(extraction.raw), video, formats, site=self.site)

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return the media URL of each format, formats as in `describe`.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        return read_sources(decode_raw(extraction.raw), extraction.cookies)

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
