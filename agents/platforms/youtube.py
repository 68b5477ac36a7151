"""Platform of YouTube: videos and Shorts, read by yt-dlp's extractor.

Without a JavaScript runtime yt-dlp reads videos as the client of visionOS, whose addresses need no
solved challenges. Logins, and videos that this client is not shown, need one.
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

NAME = "youtube"
SITE = "YouTube"
SHORT_HOST = "youtu.be"
LINKS = SiteLinks(
    site=SITE,
    hosts=(
        *(f"{name}youtube.com" for name in ("", "www.", "m.", "music.")),
        *("youtube-nocookie.com", "www.youtube-nocookie.com", SHORT_HOST),
    ),
    supported="clipmill fetches single videos, such as https://www.youtube.com/watch?v=ID",
)

_ID = re.compile(r"[A-Za-z0-9_-]{11}", re.ASCII)
_VIDEO_PATH = re.compile(r"/(?:shorts|embed|live|v|e)/(?P<id>[A-Za-z0-9_-]{11})/?", re.ASCII)


def _video_id(host: str, path: str, query: str) -> str:
    if host == SHORT_HOST:
        return path.strip("/")
    if path.rstrip("/") == "/watch":
        # Of several the first one, as YouTube and yt-dlp read it.
        return next((value for name, value in parse_qsl(query) if name == "v"), "")
    found = _VIDEO_PATH.fullmatch(path)
    return found["id"] if found else ""


class YouTube(BasePlatform):
    """Videos and Shorts."""

    site = SITE
    capabilities = Capabilities(
        name=NAME,
        page_hosts=LINKS.hosts,
        link_hosts=(),
        # The second one serves the subtitles.
        media_hosts=(".googlevideo.com", ".youtube.com"),
        extractors=("agents.platforms.youtube_extractor:YoutubeIE",),
        javascript=True,
    )
    failures = failure_table(
        SITE,
        platform_rows=(
            FailureRow(
                "bot_check",
                ErrorCode.RATE_LIMIT_IP_BLOCK,
                message_contains("not a bot", "captcha challenge"),
                f"{SITE} takes the address that it was requested from for a bot's",
            ),
            FailureRow(
                "limited",
                ErrorCode.RATE_LIMIT_API,
                message_contains("has been rate-limited by YouTube"),
                f"{SITE} limits the address that it was requested from",
            ),
            FailureRow(
                "private",
                ErrorCode.CONTENT_PRIVATE,
                message_contains("Private video", "video is private"),
                "its author restricts who can see it",
            ),
            FailureRow(
                "age",
                ErrorCode.CONTENT_AGE_RESTRICTED,
                message_contains("confirm your age", "age-restricted"),
                "it is for adults, who have to log in",
            ),
            FailureRow(
                "members",
                ErrorCode.CONTENT_LOGIN_REQUIRED,
                message_contains("members-only", "Join this channel", "requires payment"),
                "it is for members of its channel, or has to be bought",
            ),
            FailureRow(
                "upcoming",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains("live event will begin", "Premieres in", "Premiere will begin"),
                "it has not begun yet; submit it again later",
            ),
            FailureRow(
                "gone",
                ErrorCode.CONTENT_NOT_FOUND,
                message_contains(
                    "ideo unavailable",
                    "video is unavailable",
                    "video is not available",
                    "has been removed",
                    "no longer available",
                ),
                "it was deleted or never existed, or needs a JavaScript runtime",
            ),
        ),
    )

    def parse_url(self, url: str) -> VideoRef:
        link = LINKS.read(url)
        number = _video_id(link.host, link.path, link.query)
        if not _ID.fullmatch(number):
            raise LINKS.unsupported(link, "this is not a page of a single video")
        return VideoRef(platform=NAME, id=number, url=f"https://www.youtube.com/watch?v={number}")
