"""Parses TikTok links into canonical posts and listings, or short links to be resolved."""

import re
from typing import Literal
from urllib.parse import unquote

from msgspec.structs import replace

from agents.platforms.interface import ShortLink, Target
from agents.platforms.tiktok.link_forms import FORMS, HOSTS, SHORT_HOSTS, Form
from agents.platforms.urls import Link, SiteLinks, parse_link, shorten
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import VideoRef

NAME = "tiktok"

MAX_ID = 2**64 - 1
"""Ids are 64-bit numbers; the upper half is the second of publication."""

LINKS = SiteLinks(
    site="TikTok",
    hosts=HOSTS,
    supported="clipmill fetches videos, photo posts and stories, such as"
    " https://www.tiktok.com/@name/video/7608826249200356630, and lists profiles and collections",
)

_LANGUAGE = re.compile(r"/[a-z]{2,3}(?:[_-][A-Za-z]{2,4})?(?=/.)", re.ASCII)
"""Language prefix of a path, such as ``/pt-BR/@name``."""

_POST_PARAMETERS = frozenset({"item_id", "share_item_id", "shareId"})
"""Parameters with the id of a post, on pages whose path has none."""

_ESCAPE = re.compile(r"%([2-7][0-9A-Fa-f])", re.ASCII)
_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9._~@-]", re.ASCII)
"""Characters that browsers send unescaped (RFC 3986, 2.3); TikTok's own links escape the ``@``."""

_ESCAPED_BLANKS = re.compile(r"(?:%20|%C2%A0|%E2%80%8B|%EF%BB%BF)+$", re.ASCII | re.IGNORECASE)
"""Escaped white space of mail programs and forms; `strip_invisible` strips the unescaped kind."""

_MISPLACED_QUERY = re.compile(
    r"(?:&|%26|%3F)(?:(?:amp;)?[A-Za-z_][A-Za-z0-9_.-]*(?:=|%3D).*)?$", re.ASCII | re.IGNORECASE
)
"""Parameters at the end of a path whose question mark is lost or escaped."""

_WELL_FORMED_USER = re.compile(r"(?=.*[A-Za-z0-9_])[A-Za-z0-9_.-]{0,99}[A-Za-z0-9_-]", re.ASCII)
"""The last character must not be a dot: https://support.tiktok.com, changing your username."""

_WELL_FORMED_SLUG = re.compile(r"[A-Za-z0-9%._~-]{1,200}", re.ASCII)
_UNKNOWN_USER = "_"
"""Placeholder for an unknown user in links; real names have at least two characters."""


def read_url(url: object) -> Target | ShortLink:
    """Return the canonical post or listing, or the normalised short link.

    Raises:
        ClipmillError: ``request.invalid`` or ``request.too_large`` from `parse_link`;
            ``request.invalid`` for an impossible id or user name; ``content.unsupported`` for
            another host or a link that matches none of `FORMS`.
    """
    link = _normalized(parse_link(url, known_hosts=HOSTS))
    if link.host not in HOSTS:
        raise LINKS.unsupported(link, f"{link.host} is not a TikTok host")
    for each in (link, _without_language(link)):
        for form in FORMS:
            found = re.fullmatch(f"{form.path}/?", each.path, re.ASCII)
            if found is not None and each.host in form.hosts:
                return _to_target(form, found, each)
    raise LINKS.unsupported(link, "this is not a page of a post, profile or collection")


def _normalized(link: Link) -> Link:
    """Return the link without unnecessary escapes, and with its parameters in the query."""
    path = _ESCAPE.sub(_unescaped, _ESCAPED_BLANKS.sub("", link.path))
    misplaced = _MISPLACED_QUERY.search(path)
    if misplaced is None:
        return replace(link, path=path)
    query = f"{unquote(misplaced[0])}&{link.query}"
    return replace(link, path=path[: misplaced.start()], query=query)


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _NEVER_ESCAPED.fullmatch(character) else escape[0]


def _without_language(link: Link) -> Link:
    if link.host in SHORT_HOSTS:
        return link
    return replace(link, path=_LANGUAGE.sub("", link.path, count=1))


def canonical_url(video_id: str, user: str = "") -> str:
    """Return the URL of a post; ``@_`` replaces an unknown or malformed user."""
    return f"https://www.tiktok.com/@{_user_or_placeholder(user)}/video/{video_id}"


def post_id_of(url: str) -> str | None:
    """Return the id of the post that the URL identifies, None for any other URL."""
    try:
        target = read_url(url)
    except ClipmillError:
        return None
    return target.id if isinstance(target, VideoRef) else None


def profile_url(user: str | None) -> str | None:
    """Return the URL of a profile, None for an impossible name."""
    is_valid = user is not None and user != _UNKNOWN_USER and _WELL_FORMED_USER.fullmatch(user)
    return f"https://www.tiktok.com/@{user}" if is_valid else None


def _user_or_placeholder(user: str) -> str:
    return user if _WELL_FORMED_USER.fullmatch(user) else _UNKNOWN_USER


def _to_target(form: Form, found: re.Match[str], link: Link) -> Target | ShortLink:
    groups = found.groupdict(default="")
    match form.kind:
        case "post" | "story" | "collection":
            _check_id(groups["id"], link)
            return _target_by_id(form.kind, groups)
        case "query":
            groups["id"] = _post_in_query(form, link)
            _check_id(groups["id"], link)
            return _target_by_id("post", groups)
        case "profile":
            return _profile(groups["user"], link)
        case "short":
            return ShortLink(url=_short_url(link.host, groups["code"]))
        case "shared":
            _check_id(groups["id"], link)
            return ShortLink(url=_shared_url(link.host, groups))
        case "refused":
            raise LINKS.unsupported(link, f"this is {form.what}")


def _post_in_query(form: Form, link: Link) -> str:
    parameters = re.split(r"[?&]", f"{link.path.rpartition('/')[2]}&{link.query}")
    pairs = (each.removeprefix("amp;").partition("=") for each in parameters)
    values = (unquote(value) for name, _, value in pairs if name in _POST_PARAMETERS)
    ids = {value for value in values if re.fullmatch(r"[0-9]+", value, re.ASCII)}
    if len(ids) > 1:
        raise LINKS.unsupported(link, "its parameters name several posts")
    if not ids:
        raise LINKS.unsupported(link, f"this is {form.what}")
    return ids.pop()


def _target_by_id(kind: Literal["post", "story", "collection"], groups: dict[str, str]) -> Target:
    number, user = groups["id"], groups.get("user", "")
    if kind == "collection":
        slug = groups["slug"] if _is_slug(groups["slug"]) else "collection"
        name = _user_or_placeholder(user)
        url = f"https://www.tiktok.com/@{name}/collection/{slug}-{number}"
        return ListingRef(platform=NAME, kind="collection", id=number, url=url)
    url = canonical_url(number, user)
    story = url.replace("/video/", "/story/")
    return VideoRef(platform=NAME, id=number, url=story if kind == "story" else url)


def _is_slug(text: str) -> bool:
    # Parsing the canonical URL again must not change the slug: ``%%361`` would become another one.
    return bool(_WELL_FORMED_SLUG.fullmatch(text)) and _ESCAPE.sub(_unescaped, text) == text


def _profile(user: str, link: Link) -> ListingRef:
    url = profile_url(user)
    if url is None:
        raise _invalid_error("its user name is not valid on TikTok", link)
    return ListingRef(platform=NAME, kind="profile", id=user, url=url)


def _short_url(host: str, code: str) -> str:
    if host in SHORT_HOSTS:
        return f"https://{host}/{code}/"
    return f"https://{_with_subdomain(host)}/t/{code}/"


def _shared_url(host: str, groups: dict[str, str]) -> str:
    ending = ".html" if groups["share"].startswith("/h5/") else "/"
    return f"https://{_with_subdomain(host)}{groups['share']}/{groups['id']}{ending}"


def _with_subdomain(host: str) -> str:
    return host if host.count(".") > 1 else f"www.{host}"


def _check_id(digits: str, link: Link) -> None:
    # The length first: converting a very long number is expensive.
    fits = len(digits) <= len(str(MAX_ID)) and int(digits) <= MAX_ID
    if digits.startswith("0") or not fits:
        raise _invalid_error(f"its id is not a number from 1 to {MAX_ID}", link)


def _invalid_error(reason: str, link: Link) -> ClipmillError:
    message = f"This TikTok link is invalid: {reason} ({shorten(link.url)})."
    return ClipmillError(ErrorCode.REQUEST_INVALID, message, field="url", reason=reason)
