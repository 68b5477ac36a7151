"""Every form in which TikTok's links are seen, one row each, and what it means."""

import re
from typing import Literal

import msgspec

from agents.platforms.interface import ShortLink, Target
from agents.platforms.urls import Link, parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import VideoRef

NAME = "tiktok"

PAGE_HOSTS = (
    "www.tiktok.com",
    "tiktok.com",
    "m.tiktok.com",
    "us.tiktok.com",
    "lite.tiktok.com",
    "www.tiktokv.com",
    "tiktokv.com",
)
"""Hosts of pages. yt-dlp itself knows only those with ``www.``."""

SHORT_HOSTS = ("vm.tiktok.com", "vt.tiktok.com")
"""Hosts that hold nothing but short links."""

HOSTS = PAGE_HOSTS + SHORT_HOSTS

MAX_ID = 2**64 - 1
"""Ids are 64-bit numbers, the upper half being the second of publication."""

SUPPORTED = (
    "clipmill fetches videos, photo posts and stories, such as"
    " https://www.tiktok.com/@name/video/7608826249200356630, and lists profiles and collections"
)

Kind = Literal["post", "story", "short", "profile", "collection", "refused"]


class Form(msgspec.Struct, frozen=True):
    """One form of link.

    Attributes:
        path: the whole path, without a closing slash.
        example: a link of this form.
        kind: what it becomes: a post or story by its group ``id``, a short link by its group
            ``code``, a profile by its group ``user``, a collection by its group ``id``.
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
_NAMED_ID = r"(?:(?P<slug>[^/]*)-)?(?P<id>[0-9]+)"
_LIVE = "a live stream, and live streams are not recorded"

FORMS: tuple[Form, ...] = (
    Form(
        rf"{_USER}/(?:video|photo)/{_ID}",
        "https://www.tiktok.com/@name/photo/7608826249200356630",
        "post",
    ),
    Form(rf"/(?:video|photo)/{_ID}", "https://www.tiktok.com/video/7608826249200356630", "post"),
    Form(
        rf"/share/(?:video|photo)/{_ID}",
        "https://www.tiktokv.com/share/video/7608826249200356630",
        "post",
    ),
    Form(
        rf"/embed/(?:v[0-9]/)?{_ID}", "https://www.tiktok.com/embed/v2/7608826249200356630", "post"
    ),
    Form(rf"/player/v[0-9]/{_ID}", "https://www.tiktok.com/player/v1/7608826249200356630", "post"),
    Form(rf"/v/{_ID}(?:\.html)?", "https://m.tiktok.com/v/7608826249200356630.html", "post"),
    Form(
        rf"{_USER}/story/{_ID}", "https://www.tiktok.com/@name/story/7608826249200356630", "story"
    ),
    Form(rf"/t/{_CODE}", "https://www.tiktok.com/t/ZTabc123/", "short"),
    Form(rf"/{_CODE}", "https://vm.tiktok.com/ZMabc123/", "short", hosts=SHORT_HOSTS),
    Form(_USER, "https://www.tiktok.com/@name", "profile"),
    Form(
        rf"{_USER}/collection/{_NAMED_ID}",
        "https://www.tiktok.com/@name/collection/cats-7608826249200356630",
        "collection",
    ),
    Form(
        rf"{_USER}/playlist/[^/]+",
        "https://www.tiktok.com/@name/playlist/cats-7608826249200356630",
        what="a playlist, which yt-dlp has no extractor for",
    ),
    Form(rf"{_USER}/live", "https://www.tiktok.com/@name/live", what=_LIVE),
    Form(rf"/share/live/{_ID}", "https://m.tiktok.com/share/live/7608826249200356630", what=_LIVE),
    Form(r"/live", "https://www.tiktok.com/live", what=_LIVE),
    Form(r"/music/[^/]+", "https://www.tiktok.com/music/song-760882624920", what="a music page"),
    Form(r"/sticker/[^/]+", "https://www.tiktok.com/sticker/hat-760882", what="an effect page"),
    Form(r"/tag/[^/]+", "https://www.tiktok.com/tag/cats", what="a tag page"),
    Form(r"", "https://www.tiktok.com/", what="the home page", hosts=HOSTS),
)

_WELL_FORMED_USER = re.compile(r"(?=.*[A-Za-z0-9_])[A-Za-z0-9_.-]{1,100}", re.ASCII)
_WELL_FORMED_SLUG = re.compile(r"[A-Za-z0-9%._~-]{1,200}", re.ASCII)
_NOBODY = "_"
"""Stands in links for a user whom nobody knows; names have two characters at least."""


def read_url(url: object) -> Target | ShortLink:
    """Return the canonical post or listing, or the normalised short link.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large`` from `parse_link`;
            ``request.invalid`` for an id or user name that cannot be one;
            ``content.unsupported`` for what is not TikTok's or none of `FORMS` takes.
    """
    link = parse_link(url, known_hosts=HOSTS)
    if link.host not in HOSTS:
        raise _unsupported(f"{link.host} is not a TikTok host", link)
    for form in FORMS:
        if found := form.match(link):
            return _meaning(form, found, link)
    raise _unsupported("this is not a page of a post, profile or collection", link)


def canonical_url(video_id: str, user: str = "") -> str:
    """Return the page of a post; ``@_`` stands for an unknown or malformed user."""
    return f"https://www.tiktok.com/@{_name(user)}/video/{video_id}"


def page_url(video: VideoRef) -> str:
    """Return the page that describes a post: also those of stories are under ``/video/``."""
    return video.url.replace("/story/", "/video/")


def is_story(video: VideoRef) -> bool:
    """Return whether the post was asked for as a story, which lasts 24 hours."""
    return "/story/" in video.url


def profile_url(user: str | None) -> str | None:
    """Return the page of a user, None when the name cannot be one."""
    named = user is not None and user != _NOBODY and _WELL_FORMED_USER.fullmatch(user)
    return f"https://www.tiktok.com/@{user}" if named else None


def _name(user: str) -> str:
    return user if _WELL_FORMED_USER.fullmatch(user) else _NOBODY


def _meaning(form: Form, found: re.Match[str], link: Link) -> Target | ShortLink:
    groups = found.groupdict(default="")
    match form.kind:
        case "post" | "story" | "collection":
            _check_id(groups["id"], link)
            return _numbered(form.kind, groups)
        case "profile":
            return _profile(groups["user"], link)
        case "short":
            return ShortLink(url=_short_url(link.host, groups["code"]))
        case "refused":
            raise _unsupported(f"this is {form.what}", link)


def _numbered(kind: Literal["post", "story", "collection"], groups: dict[str, str]) -> Target:
    number, user = groups["id"], groups.get("user", "")
    if kind == "collection":
        slug = groups["slug"] if _WELL_FORMED_SLUG.fullmatch(groups["slug"]) else "collection"
        url = f"https://www.tiktok.com/@{_name(user)}/collection/{slug}-{number}"
        return ListingRef(platform=NAME, kind="collection", id=number, url=url)
    url = canonical_url(number, user)
    story = url.replace("/video/", "/story/")
    return VideoRef(platform=NAME, id=number, url=story if kind == "story" else url)


def _profile(user: str, link: Link) -> ListingRef:
    url = profile_url(user)
    if url is None:
        raise _invalid("its user name is none that TikTok gives", link)
    return ListingRef(platform=NAME, kind="profile", id=user, url=url)


def _short_url(host: str, code: str) -> str:
    if host in SHORT_HOSTS:
        return f"https://{host}/{code}/"
    return f"https://{host if host.count('.') > 1 else f'www.{host}'}/t/{code}/"


def _check_id(digits: str, link: Link) -> None:
    # The length first: converting a very long number to check it would cost time.
    fits = len(digits) <= len(str(MAX_ID)) and int(digits) <= MAX_ID
    if digits.startswith("0") or not fits:
        raise _invalid(f"its id is not a number from 1 to {MAX_ID}", link)


def _invalid(reason: str, link: Link) -> ClipmillError:
    message = f"This TikTok link cannot be right: {reason} ({shorten(link.url)})."
    return ClipmillError(ErrorCode.REQUEST_INVALID, message, field="url", reason=reason)


def _unsupported(reason: str, link: Link) -> ClipmillError:
    message = f"{shorten(link.url)} is not supported: {reason}; {SUPPORTED}."
    return ClipmillError(
        ErrorCode.CONTENT_UNSUPPORTED, message, field="url", reason=reason, supported=SUPPORTED
    )
