"""Platform of TikTok: combines the modules of this package in one class."""

from urllib.parse import urlsplit

from msgspec.structs import replace

from agents.accounts.interface import Account
from agents.engine.interface import EngineFailure, EngineJob, Extractor
from agents.network.addresses import is_permitted
from agents.platforms import BasePlatform, Capabilities, FailureRow, ShortLink, Target
from agents.platforms.failures import error_from_row, find_row
from agents.platforms.fields import Fields, decode_raw, text
from agents.platforms.tiktok.failures import NO_ITEM, TABLE
from agents.platforms.tiktok.formats import (
    missing_pictures,
    read_expiry,
    read_pictures,
    read_sources,
)
from agents.platforms.tiktok.link_forms import HOSTS
from agents.platforms.tiktok.listings import EXTRACTORS, read_listing
from agents.platforms.tiktok.urls import NAME, profile_url, read_url
from schemas import (
    ClipmillError,
    ErrorCode,
    Extraction,
    Listing,
    ListingRef,
    MediaSource,
    VideoFormat,
    VideoInfo,
    VideoRef,
)

SITE = "TikTok"

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
MAX_HOST_CHARACTERS = 255
"""More than a host name has: a longer one, cut, is none."""

CAPABILITIES = Capabilities(
    name=NAME,
    page_hosts=HOSTS,
    link_hosts=HOSTS,
    media_hosts=MEDIA_HOSTS,
    content=("video", "photos"),
    listings=tuple(EXTRACTORS),
    extractors=(EXTRACTOR, *EXTRACTORS.values()),
)


class TikTok(BasePlatform):
    """Videos, photo posts and stories of TikTok, its profiles and collections."""

    capabilities = CAPABILITIES
    site = SITE
    failures = TABLE
    account_cookies = frozenset({"tt_chain_token"})

    def parse_url(self, url: str) -> Target | ShortLink:
        return read_url(url)

    def page_url(self, video: VideoRef) -> str:
        # Stories too are served under this path.
        return video.url.replace("/story/", "/video/")

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
        result = await self.extract(job, listing, engine)
        return read_listing(decode_raw(result.raw), listing, limit)

    def get_media_sources(self, extraction: Extraction) -> tuple[MediaSource, ...]:
        """Return the media URL of each format.

        Files at unknown hosts are left out, except pictures, each of which belongs to the post.

        Raises:
            ClipmillError: ``platform.changed``; the extraction is not the description of a video.
        """
        sources = read_sources(decode_raw(extraction.raw), extraction.cookies)
        return tuple(each for each in sources if each.format.picture or self._has_known_host(each))

    def get_expiry_seconds(self, extraction: Extraction) -> float | None:
        return read_expiry(self.get_media_sources(extraction))

    def read_info(
        self, fields: Fields, video: VideoRef, offered: tuple[VideoFormat, ...]
    ) -> VideoInfo:
        """Return the description of a post.

        Photo posts have no cover: the thumbnail is the first picture.
        """
        info = super().read_info(fields, video, offered)
        stills = (each.url for each in read_pictures(fields) if not each.format.motion)
        picture, missing = next(stills, None), missing_pictures(fields)
        return replace(
            info,
            content="photos" if missing or any(each.picture for each in offered) else "video",
            missing_pictures=missing,
            author=replace(info.author, url=profile_url(info.author.name)),
            thumbnail_url=info.thumbnail_url or picture,
            redirected_to=text(fields, "redirected_to", limit=20),
        )

    def to_error(self, failure: EngineFailure, subject: VideoRef | ListingRef) -> ClipmillError:
        row = find_row(failure, TABLE)
        if isinstance(subject, VideoRef) and "/story/" in subject.url:
            row = _for_story(row)
        return error_from_row(row, failure, subject=subject, site=SITE)

    def check_page(self, fields: Fields, video: VideoRef) -> None:
        """Verify that the page has files.

        Raises:
            ClipmillError: ``content.no_formats``, the page has no files; ``platform.changed``, all
                files are at hosts that are not known as TikTok's.
        """
        sources = read_sources(fields)
        if not sources:
            message = f"TikTok video {video.id}: its page has no file."
            raise ClipmillError(ErrorCode.CONTENT_NO_FORMATS, message, failure="no_formats")
        if not any(map(self._has_known_host, sources)):
            raise _unknown_hosts_error(video, sources)

    def _has_known_host(self, source: MediaSource) -> bool:
        return is_permitted(_host(source), self.capabilities.media_hosts)


def _for_story(row: FailureRow) -> FailureRow:
    """Return the row for a story: its page outlives it, and then has no item."""
    if row.code is not ErrorCode.CONTENT_NOT_FOUND and row is not NO_ITEM:
        return row
    expired = "it has expired: stories last 24 hours"
    return replace(row, code=ErrorCode.CONTENT_NOT_FOUND, text=expired)


def _host(source: MediaSource) -> str:
    return urlsplit(source.url).hostname or ""


def _unknown_hosts_error(video: VideoRef, sources: tuple[MediaSource, ...]) -> ClipmillError:
    hosts = sorted({_host(source)[:MAX_HOST_CHARACTERS] for source in sources})[:MAX_REPORTED_HOSTS]
    reason = (
        f"its files are on {', '.join(hosts)}, which is not a known media host of TikTok;"
        " if that is right, add the host to platforms.tiktok.media_hosts"
    )
    return ClipmillError(
        ErrorCode.PLATFORM_CHANGED,
        f"TikTok video {video.id}: {reason}.",
        failure="unknown_hosts",
        reason=reason,
        hosts=", ".join(hosts),
    )
