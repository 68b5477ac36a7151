"""Platform of a site that the settings describe, without code of its own.

Pages are read by yt-dlp's extractors, and the results by the general readers.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from agents.accounts.interface import Account
from agents.engine.interface import EngineFailure, Extractor
from agents.network.download import Fetched, FetchLimits, MediaFetcher
from agents.platforms.configured.results import check_single_video
from agents.platforms.configured.site import Site, capabilities_of, extractor_of
from agents.platforms.configured.urls import read_page_link, unsupported_link
from agents.platforms.description import read_info
from agents.platforms.errors import to_clipmill_error
from agents.platforms.expiry import read_expiry
from agents.platforms.extraction import ReadOptions, read_page
from agents.platforms.failures import failure_table
from agents.platforms.fields import decode_raw
from agents.platforms.formats import no_formats_error, read_sources
from agents.platforms.interface import DEFAULT_LIMITS, Capabilities, OnProgress, ShortLink, Target
from agents.platforms.urls import parse_link
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import Listing, ListingRef
from schemas.video import Extraction, MediaSource, VideoInfo, VideoRef


class ConfiguredPlatform:
    """Single videos of a site that the settings describe. Stateless.

    Args:
        name: name of the platform.
        site: hosts and extractors of the platform.
        clock: time source of ``extracted_at``.
    """

    def __init__(
        self, name: str, site: Site, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._name = name
        self._site = site
        self._clock = clock
        self._capabilities = capabilities_of(name, site)
        self._table = failure_table(name)

    def get_capabilities(self) -> Capabilities:
        return self._capabilities

    def is_valid_url(self, url: str) -> bool:
        """Return whether the URL is on one of the site's hosts; `parse_url` may still reject it."""
        hosts = self._capabilities.page_hosts
        try:
            return parse_link(url, known_hosts=hosts).host in hosts
        except ClipmillError:
            return False

    def parse_url(self, url: str) -> Target | ShortLink:
        """Return the page, or the short link that has to be resolved first.

        Only extraction can find out whether the page has a video.

        Raises:
            ClipmillError: ``request.invalid``, ``request.too_large`` or ``content.unsupported``.
        """
        link = parse_link(url, known_hosts=self._capabilities.page_hosts)
        if link.host not in self._capabilities.page_hosts:
            raise unsupported_link(link, f"{link.host} is not a host of {self._name}")
        video = read_page_link(link, self._name, self._site.hosts)
        return ShortLink(url=video.url) if link.host in self._site.short_hosts else video

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
            ClipmillError: mapped by `agents.platforms.failures`; ``content.unsupported``, the page
                is not that of one video; ``content.no_formats``, it has no downloadable file.
        """
        options = ReadOptions(
            egress=egress, deadline_seconds=deadline_seconds, account=account, clock=self._clock
        )

        def to_error(failure: EngineFailure) -> ClipmillError:
            return to_clipmill_error(failure, video, site=self._name, table=self._table)

        extraction = await read_page(video, engine, extractor_of(self._site), options, to_error)
        fields = decode_raw(extraction.raw)
        check_single_video(fields, video)
        if not read_sources(fields):
            raise no_formats_error(fields, video, self._name)
        return extraction

    async def get_listing(
        self, listing: ListingRef, engine: Extractor, **_kwargs: object
    ) -> Listing:
        """Reject: a site of the settings has no listings.

        Raises:
            ClipmillError: ``content.unsupported``.
        """
        del engine
        message = f"{listing.url}: {self._name} has no listings."
        raise ClipmillError(ErrorCode.CONTENT_UNSUPPORTED, message)

    def describe(self, video: VideoRef, extraction: Extraction) -> VideoInfo:
        """Return the extraction as a `VideoInfo`.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        formats = tuple(source.format for source in self.get_media_sources(extraction))
        return read_info(decode_raw(extraction.raw), video, formats, site=self._name)

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
        hosts = self._capabilities.media_hosts
        return await fetcher.fetch(source, target, hosts=hosts, limits=limits, on_bytes=on_progress)
