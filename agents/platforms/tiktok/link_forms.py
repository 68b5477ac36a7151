"""The known forms of TikTok links, one row each, in matching order."""

from typing import Literal

import msgspec

PAGE_HOSTS = (
    "www.tiktok.com",
    "tiktok.com",
    "m.tiktok.com",
    "us.tiktok.com",
    "lite.tiktok.com",
    "t.tiktok.com",
    "www.tiktokv.com",
    "tiktokv.com",
)
"""Hosts of pages; yt-dlp itself supports only those with ``www.``."""

SHORT_HOSTS = ("vm.tiktok.com", "vt.tiktok.com")
"""Hosts that serve short links only."""

HOSTS = PAGE_HOSTS + SHORT_HOSTS

LinkKind = Literal["post", "story", "query", "short", "shared", "profile", "collection", "refused"]


class Form(msgspec.Struct, frozen=True):
    """One form of link.

    Attributes:
        path: pattern of the whole path, without a trailing slash.
        example: a link of this form.
        kind: kind of target, and the groups that identify it. ``post``, ``story`` and
            ``collection``: ``id``. ``query``: a post, by a query parameter. ``short``: a short
            link, ``code``. ``shared``: a profile by its number, resolved as a short link, ``share``
            and ``id``. ``profile``: ``user``. ``refused``: not supported.
        what: description in the error of a refused link, or of a query without a post.
        hosts: hosts on which the form is valid.
    """

    path: str
    example: str
    kind: LinkKind = "refused"
    what: str = ""
    hosts: tuple[str, ...] = PAGE_HOSTS


_ID = r"(?P<id>[0-9]+)"
_USER = r"/@(?P<user>[^/]*)"
_CODE = r"(?P<code>[A-Za-z0-9_-]{1,64})"
_NAMED_ID = r"(?:(?P<slug>[^/]*)-)?(?P<id>[0-9]+)"
_SHARE = r"(?:/i18n|/h5)?/share"
_LIVE = "a live stream, and live streams are not recorded"
_FEED = "a page of many posts, and its address names none of them"

FORMS: tuple[Form, ...] = (
    Form(
        rf"{_USER}/(?:video|photo)/{_ID}",
        "https://www.tiktok.com/@name/photo/7608826249200356630",
        "post",
    ),
    Form(rf"/(?:video|photo)/{_ID}", "https://www.tiktok.com/video/7608826249200356630", "post"),
    Form(
        rf"{_SHARE}/(?:video|photo|item)/{_ID}(?:\.html)?",
        "https://t.tiktok.com/i18n/share/video/7608826249200356630",
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
    # Old share buttons omitted the question mark, or the post's number in the path.
    Form(
        rf"{_USER}/video(?:/[a-z_]+=[^/]*)?",
        "https://www.tiktok.com/@name/video/is_copy_url=1&item_id=7608826249200356630",
        "query",
        what=_FEED,
    ),
    Form(
        r"/(?:foryou|trending|explore|following|friends)",
        "https://www.tiktok.com/foryou?item_id=7608826249200356630",
        "query",
        what=_FEED,
    ),
    Form(
        r"",
        "https://www.tiktok.com/?share_item_id=7608826249200356630",
        "query",
        what="the home page",
        hosts=HOSTS,
    ),
    Form(rf"/t/{_CODE}", "https://www.tiktok.com/t/ZTabc123/", "short"),
    Form(rf"/{_CODE}", "https://vm.tiktok.com/ZMabc123/", "short", hosts=SHORT_HOSTS),
    Form(
        rf"(?P<share>{_SHARE}/(?:user|usr))/{_ID}(?:\.html)?",
        "https://www.tiktok.com/share/user/6820838815978423302",
        "shared",
    ),
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
    Form(
        rf"{_SHARE}/live/{_ID}(?:\.html)?",
        "https://m.tiktok.com/share/live/7608826249200356630",
        what=_LIVE,
    ),
    Form(r"/live", "https://www.tiktok.com/live", what=_LIVE),
    Form(
        rf"(?:{_SHARE})?/music/[^/]+",
        "https://www.tiktok.com/music/song-760882624920",
        what="a music page",
    ),
    Form(
        rf"(?:{_SHARE})?/sticker/[^/]+",
        "https://www.tiktok.com/sticker/hat-760882",
        what="an effect page",
    ),
    Form(rf"(?:{_SHARE})?/tag/[^/]+", "https://www.tiktok.com/tag/cats", what="a tag page"),
    Form(r"/tiktoklite", "https://www.tiktok.com/tiktoklite", what="the page of an app"),
)
