"""What TikTok's links mean: posts, listings, and short links that have to be resolved."""

import re
from typing import Literal
from urllib.parse import unquote

from msgspec.structs import replace

from agents.platforms.interface import ShortLink, Target
from agents.platforms.tiktok.link_forms import FORMS, HOSTS, SHORT_HOSTS, Form
from agents.platforms.urls import Link, parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import VideoRef

NAME = "tiktok"

MAX_ID = 2**64 - 1
"""Ids are 64-bit numbers, the upper half being the second of publication."""

SUPPORTED = (
    "clipmill fetches videos, photo posts and stories, such as"
    " https://www.tiktok.com/@name/video/7608826249200356630, and lists profiles and collections"
)

_LANGUAGE = re.compile(r"/[a-z]{2,3}(?:[_-][A-Za-z]{2,4})?(?=/.)", re.ASCII)
"""In front of the path of a page, such as ``/pt-BR/@name``."""

_POST_PARAMETERS = frozenset({"item_id", "share_item_id", "shareId"})
"""Parameters that name a post on pages whose path does not."""

_ESCAPE = re.compile(r"%([2-7][0-9A-Fa-f])", re.ASCII)
_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9._~@-]", re.ASCII)
"""What a browser shows and sends as it is, RFC 3986, 2.3; TikTok's own links escape the ``@``."""

_ESCAPED_BLANKS = re.compile(r"(?:%20|%C2%A0|%E2%80%8B|%EF%BB%BF)+$", re.ASCII | re.IGNORECASE)
"""White space behind a path, as mail programs and forms pass it on: what `trimmed` takes off."""

_GLUED = re.compile(
    r"(?:&|%26|%3F)(?:(?:amp;)?[A-Za-z_][A-Za-z0-9_.-]*(?:=|%3D).*)?$", re.ASCII | re.IGNORECASE
)
"""Parameters behind a path that lost its question mark, or has it escaped."""

_WELL_FORMED_USER = re.compile(r"(?=.*[A-Za-z0-9_])[A-Za-z0-9_.-]{0,99}[A-Za-z0-9_-]", re.ASCII)
"""The last character is no dot: https://support.tiktok.com, changing your username."""

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
    link = _normal(parse_link(url, known_hosts=HOSTS))
    if link.host not in HOSTS:
        raise _unsupported(f"{link.host} is not a TikTok host", link)
    for each in (link, _without_language(link)):
        for form in FORMS:
            if found := form.match(each):
                return _meaning(form, found, each)
    raise _unsupported("this is not a page of a post, profile or collection", link)


def _normal(link: Link) -> Link:
    """Return the link without needless escapes, and with its parameters in the query."""
    path = _ESCAPE.sub(_unescaped, _ESCAPED_BLANKS.sub("", link.path))
    glued = _GLUED.search(path)
    if glued is None:
        return replace(link, path=path)
    query = f"{unquote(glued[0])}&{link.query}"
    return replace(link, path=path[: glued.start()], query=query)


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _NEVER_ESCAPED.fullmatch(character) else escape[0]


def _without_language(link: Link) -> Link:
    if link.host in SHORT_HOSTS:
        return link
    return replace(link, path=_LANGUAGE.sub("", link.path, count=1))


def canonical_url(video_id: str, user: str = "") -> str:
    """Return the page of a post; ``@_`` stands for an unknown or malformed user."""
    return f"https://www.tiktok.com/@{_name(user)}/video/{video_id}"


def page_url(video: VideoRef) -> str:
    """Return the page that describes a post: also those of stories are under ``/video/``."""
    return video.url.replace("/story/", "/video/")


def post_id_of(url: str) -> str | None:
    """Return the id of the post whose page this is, None when it is no post's."""
    try:
        target = read_url(url)
    except ClipmillError:
        return None
    return target.id if isinstance(target, VideoRef) else None


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
        case "query":
            groups["id"] = _post_in_query(form, link)
            _check_id(groups["id"], link)
            return _numbered("post", groups)
        case "profile":
            return _profile(groups["user"], link)
        case "short":
            return ShortLink(url=_short_url(link.host, groups["code"]))
        case "shared":
            _check_id(groups["id"], link)
            return ShortLink(url=_shared_url(link.host, groups))
        case "refused":
            raise _unsupported(f"this is {form.what}", link)


def _post_in_query(form: Form, link: Link) -> str:
    parameters = re.split(r"[?&]", f"{link.path.rpartition('/')[2]}&{link.query}")
    pairs = (each.removeprefix("amp;").partition("=") for each in parameters)
    values = (unquote(value) for name, _, value in pairs if name in _POST_PARAMETERS)
    named = {value for value in values if re.fullmatch(r"[0-9]+", value, re.ASCII)}
    if len(named) > 1:
        raise _unsupported("its parameters name several posts", link)
    if not named:
        raise _unsupported(f"this is {form.what}", link)
    return named.pop()


def _numbered(kind: Literal["post", "story", "collection"], groups: dict[str, str]) -> Target:
    number, user = groups["id"], groups.get("user", "")
    if kind == "collection":
        slug = groups["slug"] if _is_slug(groups["slug"]) else "collection"
        url = f"https://www.tiktok.com/@{_name(user)}/collection/{slug}-{number}"
        return ListingRef(platform=NAME, kind="collection", id=number, url=url)
    url = canonical_url(number, user)
    story = url.replace("/video/", "/story/")
    return VideoRef(platform=NAME, id=number, url=story if kind == "story" else url)


def _is_slug(text: str) -> bool:
    # Once more read, a slug must be what it is: ``%%361`` would become another one.
    return bool(_WELL_FORMED_SLUG.fullmatch(text)) and _ESCAPE.sub(_unescaped, text) == text


def _profile(user: str, link: Link) -> ListingRef:
    url = profile_url(user)
    if url is None:
        raise _invalid("its user name is none that TikTok gives", link)
    return ListingRef(platform=NAME, kind="profile", id=user, url=url)


def _short_url(host: str, code: str) -> str:
    if host in SHORT_HOSTS:
        return f"https://{host}/{code}/"
    return f"https://{_full(host)}/t/{code}/"


def _shared_url(host: str, groups: dict[str, str]) -> str:
    ending = ".html" if groups["share"].startswith("/h5/") else "/"
    return f"https://{_full(host)}{groups['share']}/{groups['id']}{ending}"


def _full(host: str) -> str:
    return host if host.count(".") > 1 else f"www.{host}"


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
