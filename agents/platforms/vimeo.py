"""Platform of Vimeo: single videos, read by yt-dlp's stock extractor.

The page of a video on vimeo.com leads to an API that needs a login; that of the player, which other
sites embed, does not, and has the same files. So the player's page is read, whatever the link.
"""

import re
from urllib.parse import parse_qsl

from agents.platforms.base import BasePlatform
from agents.platforms.failure_predicates import FailureRow, message_contains
from agents.platforms.failures import failure_table
from agents.platforms.interface import Capabilities
from agents.platforms.urls import SiteLinks
from schemas.errors import ErrorCode
from schemas.video import VideoRef

NAME = "vimeo"
SITE = "Vimeo"
PLAYER = "player.vimeo.com"
LINKS = SiteLinks(
    site=SITE,
    hosts=("vimeo.com", "www.vimeo.com", PLAYER),
    supported="clipmill fetches single videos, such as https://vimeo.com/76979871",
)

_PATH = re.compile(
    r"/(?:(?:channels/[\w-]{1,64}|groups/[\w-]{1,64}/videos|(?:album|showcase)/[0-9]{1,20}/video"
    r"|video)/)?(?P<id>[0-9]{1,20})(?:/(?P<hash>[0-9a-f]{10}))?/?",
    re.ASCII,
)
_HASH = re.compile(r"[0-9a-f]{10}", re.ASCII)


class Vimeo(BasePlatform):
    """Single videos of Vimeo."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=(),
        # The Akamai hosts have names of their own: others on that domain belong to its other
        # customers.
        media_hosts=(
            ".vimeocdn.com",
            # Of subtitles.
            ".captions.vimeo.com",
            ".player.vimeo.com",
            ".vod-progressive.akamaized.net",
            ".vod-adaptive.akamaized.net",
        ),
        extractors=("yt_dlp.extractor.vimeo:VimeoIE",),
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "embed_only",
                ErrorCode.CONTENT_PRIVATE,
                message_contains("Cannot download embed-only video"),
                "its owner lets it play on certain sites only",
            ),
            FailureRow(
                "password",
                ErrorCode.CONTENT_PRIVATE,
                message_contains("protected by a password"),
                "it is protected by a password",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef:
        link = LINKS.read(url)
        found = _PATH.fullmatch(link.path)
        if found is None:
            raise LINKS.unsupported(link, "this is not a page of a single video")
        secret = found["hash"] or dict(parse_qsl(link.query)).get("h", "")
        # Without its hash an unlisted video does not exist: the two links must not share an answer.
        parts = [found["id"], secret] if _HASH.fullmatch(secret) else [found["id"]]
        return VideoRef(
            platform=NAME, id="-".join(parts), url="/".join(["https://vimeo.com", *parts])
        )

    def page_url(self, video: VideoRef) -> str:
        number, _, secret = video.id.partition("-")
        return f"https://{PLAYER}/video/{number}{f'?h={secret}' if secret else ''}"
