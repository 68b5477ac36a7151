"""Platform of Streamable: single videos, read by yt-dlp's stock extractor."""

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
from agents.platforms.fields import decode_raw
from agents.platforms.formats import no_formats_error, read_sources
from agents.platforms.interface import DEFAULT_LIMITS, Capabilities, OnProgress, ShortLink, Target
from agents.platforms.streamable.errors import SITE, TABLE
from agents.platforms.streamable.urls import HOSTS, NAME, read_url
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import Listing, ListingRef
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef

EXTRACTOR = "yt_dlp.extractor.streamable:StreamableIE"

MEDIA_HOSTS = (".streamable.com",)
"""Suffix of CDN hosts such as ``cdn-cf-east.streamable.com``."""

CAPABILITIES = Capabilities(
    name=NAME,
    page_hosts=HOSTS,
    link_hosts=(),
    media_hosts=MEDIA_HOSTS,
    extractors=(EXTRACTOR,),
)


class Streamable:
    """Single videos of Streamable. Stateless.

    Args:
        clock: time source of ``extracted_at``.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock

    def get_capabilities(self) -> Capabilities:
        return CAPABILITIES

    def is_valid_url(self, url: str) -> bool:
        """Return whether the URL is on a host of Streamable; `parse_url` may still reject it."""
        try:
            return parse_link(url, known_hosts=HOSTS).host in HOSTS
        except ClipmillError:
            return False

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the canonical video.

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
        """Read the video's page.

        Raises:
            ClipmillError: mapped by `agents.platforms.streamable.errors`; ``content.no_formats``,
                the page has no downloadable file.
        """
        options = ReadOptions(
            egress=egress, deadline_seconds=deadline_seconds, account=account, clock=self._clock
        )

        def to_error(failure: EngineFailure) -> ClipmillError:
            return to_clipmill_error(failure, video, site=SITE, table=TABLE)

        extraction = await read_page(video, engine, EXTRACTOR, options, to_error)
        if not self.get_media_sources(extraction):
            raise no_formats_error(decode_raw(extraction.raw), video, SITE)
        return extraction

    async def get_listing(
        self, listing: ListingRef, engine: Extractor, **_kwargs: object
    ) -> Listing:
        """Reject: no kind of listing is supported.

        Raises:
            ClipmillError: ``content.unsupported``.
        """
        del engine
        message = f"{listing.url}: {SITE} has no listings."
        raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message)

    def describe(self, video: VideoRef, extraction: Extraction) -> VideoInfo:
        """Return the extraction as a `VideoInfo`.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        formats = tuple(source.format for source in self.get_media_sources(extraction))
        return read_info(decode_raw(extraction.raw), video, formats, site=SITE)

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
        return await fetcher.fetch(
            source, target, hosts=MEDIA_HOSTS, limits=limits, on_bytes=on_progress
        )
