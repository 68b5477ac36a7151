"""Every form in which TikTok's links are seen, one row each, and the one form that we use."""

import re
from typing import Literal

import msgspec

from agents.platforms.interface import ShortLink
from agents.platforms.urls import Link, parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

NAME = "tiktok"

PAGE_HOSTS = (
    "www.tiktok.com",
    "tiktok.com",
    "m.tiktok.com",
    "us.tiktok.com",
    "lite.tiktok.com",
    "www.tiktokv.com",
)
"""Hosts of video pages. yt-dlp itself knows only those with ``www.``."""

SHORT_HOSTS = ("vm.tiktok.com", "vt.tiktok.com")
"""Hosts that hold nothing but short links."""

HOSTS = PAGE_HOSTS + SHORT_HOSTS

MAX_VIDEO_ID = 2**64 - 1
"""Ids are 64-bit numbers, the upper half being the second of publication."""

SUPPORTED = (
    "clipmill fetches single videos, such as https://www.tiktok.com/@name/video/7608826249200356630"
)

Kind = Literal["video", "short", "refused"]


class Form(msgspec.Struct, frozen=True):
    """One form of link.

    Attributes:
        path: the whole path, without a closing slash.
        example: a link of this form.
        kind: what it becomes: a video by its group ``id``, a short link by its group ``code``.
        what: what is refused, in words.
        hosts: where it is found.
    """

    path: str
    example: str
    kind: Kind = "refused"
    what: str = ""
    hosts: tuple[str, ...] = PAGE_HOSTS

    def match(self, link: Link) -> re.Match[str] | None:
        """Return the match when the link has this form."""
        found = re.fullmatch(f"{self.path}/?", link.path, re.ASCII)
        return found if link.host in self.hosts else None


_ID = r"(?P<id>[0-9]+)"
_USER = r"/@(?P<user>[^/]*)"
_CODE = r"(?P<code>[A-Za-z0-9_-]{1,64})"

FORMS: tuple[Form, ...] = (
    Form(
        rf"{_USER}/video/{_ID}", "https://www.tiktok.com/@name/video/7608826249200356630", "video"
    ),
    Form(rf"/video/{_ID}", "https://www.tiktok.com/video/7608826249200356630", "video"),
    Form(
        rf"/share/video/{_ID}", "https://www.tiktokv.com/share/video/7608826249200356630", "video"
    ),
    Form(
        rf"/embed/(?:v[0-9]/)?{_ID}", "https://www.tiktok.com/embed/v2/7608826249200356630", "video"
    ),
    Form(rf"/player/v[0-9]/{_ID}", "https://www.tiktok.com/player/v1/7608826249200356630", "video"),
    Form(rf"/v/{_ID}(?:\.html)?", "https://m.tiktok.com/v/7608826249200356630.html", "video"),
    Form(rf"/t/{_CODE}", "https://www.tiktok.com/t/ZTabc123/", "short"),
    Form(rf"/{_CODE}", "https://vm.tiktok.com/ZMabc123/", "short", hosts=SHORT_HOSTS),
    Form(
        rf"(?:{_USER})?/photo/{_ID}",
        "https://www.tiktok.com/@name/photo/7608826249200356630",
        what="a photo post",
    ),
    Form(
        rf"{_USER}/story/{_ID}",
        "https://www.tiktok.com/@name/story/7608826249200356630",
        what="a story",
    ),
    Form(rf"{_USER}/live", "https://www.tiktok.com/@name/live", what="a live stream"),
    Form(
        rf"/share/live/{_ID}",
        "https://m.tiktok.com/share/live/7608826249200356630",
        what="a live stream",
    ),
    Form(
        rf"{_USER}/collection/[^/]+",
        "https://www.tiktok.com/@name/collection/cats-7608826249200356630",
        what="a collection",
    ),
    Form(
        rf"{_USER}/playlist/[^/]+",
        "https://www.tiktok.com/@name/playlist/cats-7608826249200356630",
        what="a playlist",
    ),
    Form(_USER, "https://www.tiktok.com/@name", what="a profile"),
    Form(r"/music/[^/]+", "https://www.tiktok.com/music/song-760882624920", what="a music page"),
    Form(r"/sticker/[^/]+", "https://www.tiktok.com/sticker/hat-760882", what="an effect page"),
    Form(r"/tag/[^/]+", "https://www.tiktok.com/tag/cats", what="a tag page"),
    Form(r"/live", "https://www.tiktok.com/live", what="a live stream"),
    Form(r"", "https://www.tiktok.com/", what="the home page", hosts=HOSTS),
)

_WELL_FORMED_USER = re.compile(r"(?=.*[A-Za-z0-9_])[A-Za-z0-9_.-]{1,100}", re.ASCII)


def read_url(url: object) -> VideoRef | ShortLink:
    """Return the canonical video, or the normalised short link.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large`` from `parse_link`, and
            ``content.unsupported`` for what is not TikTok's or not a single video.
    """
    link = parse_link(url, known_hosts=HOSTS)
    if link.host not in HOSTS:
        raise _unsupported(f"{link.host} is not a TikTok host", link)
    for form in FORMS:
        if found := form.match(link):
            return _meaning(form, found, link)
    raise _unsupported("this is not a page of a single video", link)


def canonical_url(video_id: str, user: str = "") -> str:
    """Return the page of a video; ``@_`` stands for an unknown or malformed user."""
    name = user if _WELL_FORMED_USER.fullmatch(user) else "_"
    return f"https://www.tiktok.com/@{name}/video/{video_id}"


def profile_url(user: str | None) -> str | None:
    """Return the page of a user, None when the name cannot be one."""
    named = user is not None and _WELL_FORMED_USER.fullmatch(user)
    return f"https://www.tiktok.com/@{user}" if named else None


def _meaning(form: Form, found: re.Match[str], link: Link) -> VideoRef | ShortLink:
    groups = found.groupdict(default="")
    match form.kind:
        case "video":
            _check_id(groups["id"], link)
            url = canonical_url(groups["id"], groups.get("user", ""))
            return VideoRef(platform=NAME, id=groups["id"], url=url)
        case "short":
            return ShortLink(url=_short_url(link.host, groups["code"]))
        case "refused":
            raise _unsupported(f"this is {form.what}", link)


def _short_url(host: str, code: str) -> str:
    if host in SHORT_HOSTS:
        return f"https://{host}/{code}/"
    return f"https://{'www.tiktok.com' if host == 'tiktok.com' else host}/t/{code}/"


def _check_id(digits: str, link: Link) -> None:
    # The length first: converting a very long number to check it would cost time.
    fits = len(digits) <= len(str(MAX_VIDEO_ID)) and int(digits) <= MAX_VIDEO_ID
    if digits.startswith("0") or not fits:
        reason = "its video id is not a number from 1 to 18446744073709551615"
        message = f"This TikTok link cannot be right: {reason} ({shorten(link.url)})."
        raise ClipmillError(ErrorCode.REQUEST_INVALID, message, field="url", reason=reason)


def _unsupported(reason: str, link: Link) -> ClipmillError:
    message = f"{shorten(link.url)} is not supported: {reason}; {SUPPORTED}."
    return ClipmillError(
        ErrorCode.CONTENT_UNSUPPORTED, message, field="url", reason=reason, supported=SUPPORTED
    )
