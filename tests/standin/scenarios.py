"""The table of scenarios: one row each, with a code for video ids and a description."""

from dataclasses import dataclass
from typing import Literal

Surface = Literal["post", "page", "media", "profile", "collection", "list", "connect", "socks"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One behaviour of the stand-in.

    Attributes:
        code: Three digits in a video id; 0 to 99 posts, 100 to 299 pages, 300 to 399 media,
            400 to 499 connections (never in an id), 500 and up lists of posts.
        name: In user names and switches.
        surface: What it changes: the post itself (content of the page and existing media), the
            answer to a page request, the answer to a media request, an account (by its name), a
            collection (by its id), the answer to a request for a list, the connection, or what
            the SOCKS proxy before there is one.
        sentence: Description from the client's view.
        param: Meaning of the number, with its unit; empty without one.
        default: The number used for 0.
    """

    code: int
    name: str
    surface: Surface
    sentence: str
    param: str = ""
    default: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario with its numbers.

    Attributes:
        scenario: The row of the table.
        param: The scenario's number, 0 for its default.
        times: Number of affected requests of one video, 0 for all.
        egress: The affected egress, empty for all.
    """

    scenario: Scenario
    param: int = 0
    times: int = 0
    egress: str = ""

    @property
    def value(self) -> int:
        return self.param or self.scenario.default


_POSTS = (
    Scenario(0, "ok", "post", "A portrait video of ten seconds in six formats."),
    Scenario(1, "landscape", "post", "The same, wider than high."),
    Scenario(2, "silent", "post", "Only H.265 formats without sound, and no music."),
    Scenario(3, "watermarked", "post", "Only the watermarked download address."),
    Scenario(4, "noformats", "post", "A video without any address, and no music."),
    Scenario(5, "photo", "post", "A photo post with music.", "images", 3),
    Scenario(6, "size", "post", "Every video format has this size.", "MiB", 1),
    Scenario(7, "mismatch", "post", "The page declares twice the size of the media."),
    Scenario(8, "hostile", "post", "Description and names try paths, markup and control marks."),
    Scenario(9, "expired", "post", "The links of the page are past their expiry."),
    Scenario(10, "linklife", "post", "The links of the page live this long.", "seconds", 60),
    Scenario(11, "media.tls", "post", "Media hosts reset during the TLS handshake."),
    Scenario(12, "unplayable", "post", "Only an H.266 format, which is not playable."),
    Scenario(13, "kilobytes", "post", "Every video format has this size.", "KiB", 64),
    Scenario(14, "photo.mute", "post", "A photo post without music.", "images", 3),
    Scenario(
        15, "photo.onehost", "post", "The same; the first host of pictures has none.", "images", 2
    ),
    Scenario(16, "slideshow", "post", "A photo post of which there is a video, too.", "images", 3),
    Scenario(60, "shop", "post", "A shop post: its page has the song and no video."),
    Scenario(61, "ad", "post", "An ad: its page has neither video nor song."),
    Scenario(62, "elsewhere", "post", "All files are on an unknown host."),
    Scenario(17, "photo.gap", "post", "The second of its pictures has no address.", "images", 3),
    Scenario(18, "photo.live", "post", "The second of its pictures is a live photo.", "images", 2),
    Scenario(19, "photo.webp", "post", "Its JPEGs are called WebP.", "images", 2),
    Scenario(30, "pictureonly", "post", "1080p only as a picture without sound, by its path."),
    Scenario(32, "song.long", "post", "The song lasts longer than the video.", "seconds", 60),
    Scenario(33, "song.none", "post", "The video has sound, and the post names no song."),
    Scenario(34, "hls", "post", "HLS alone, of a site that has it; see `streams`."),
    Scenario(36, "ciphered", "post", "Addresses are ciphered, of a site that does so."),
    Scenario(35, "dash", "post", "DASH alone, of a site that has it; see `streams`."),
)

_PAGE_STATUSES = tuple(
    Scenario(code, f"page.{status}", "page", f"The page is answered {status}.")
    for code, status in (
        *((100, 404), (101, 403), (102, 429), (103, 503), (104, 500), (105, 502), (108, 401)),
        *((117, 408), (118, 410), (119, 418), (120, 425)),
    )
)

_PAGES = (
    Scenario(106, "page.451", "page", "The page is answered 451."),
    Scenario(107, "page.429after", "page", "429 with Retry-After.", "seconds", 30),
    Scenario(110, "page.hang", "page", "No response."),
    Scenario(111, "page.drip", "page", "The page trickles.", "KiB/s", 2),
    Scenario(112, "page.reset", "page", "The connection is reset before the answer."),
    Scenario(113, "page.truncated", "page", "Closed early.", "KiB sent, 0 is half"),
    Scenario(114, "page.gzip", "page", "Content-Encoding gzip with bytes that are not gzip."),
    Scenario(115, "page.huge", "page", "A page of this size.", "MiB", 9),
    Scenario(116, "page.slow", "page", "The page comes late.", "milliseconds", 1000),
    Scenario(200, "deleted", "page", "10204, item_privacy_authorization&status_deleted."),
    Scenario(201, "region", "page", "10204, cross_border_violation_ur."),
    Scenario(202, "blocked", "page", "10204 without a message."),
    Scenario(203, "private", "page", "10216, a private post."),
    Scenario(204, "privateaccount", "page", "10222, a private account."),
    Scenario(205, "withheld", "page", "10231, locked in this region."),
    Scenario(206, "selfsee", "page", "10204, status_self_see: only its author sees it."),
    Scenario(207, "reviewing", "page", "10204, author_status,status_reviewing."),
    Scenario(208, "geofence", "page", "10204, person_geo_fencing."),
    Scenario(209, "status", "page", "This status code without a message.", "status code", 10217),
    Scenario(210, "age", "page", "Classified content: the item comes without its video."),
    Scenario(211, "login", "page", "A redirect to the login page."),
    Scenario(212, "noitem", "page", "Status 0 without an item."),
    Scenario(213, "layout", "page", "A changed layout: no universal data."),
    Scenario(214, "captcha", "page", "The 'Please wait...' page, without a challenge."),
    Scenario(215, "challenge", "page", "The proof-of-work page until solved.", "solution", 500),
    Scenario(216, "members", "page", "As login, but whole with a cookie of `sessions`."),
    Scenario(217, "adults", "page", "As age, but whole with a cookie of `sessions`."),
    Scenario(218, "audit", "page", "10204, status_audit_not_pass: taken down after a review."),
    Scenario(219, "copyright", "page", "10204, copyright_geo_filter."),
    Scenario(220, "classified", "page", "10204, content_classification."),
    Scenario(221, "missing", "page", "10204, item doesn't exist."),
    Scenario(222, "other", "page", "10204 with an undocumented message."),
    Scenario(223, "badjson", "page", "Truncated universal data."),
    Scenario(250, "challenge.any", "page", "As challenge, with a solution from 0 to a million."),
    Scenario(251, "challenge.again", "page", "As challenge, whatever the answer.", "solution", 5),
    Scenario(252, "challenge.none", "page", "A challenge that no number solves."),
    Scenario(253, "notfound", "page", "A redirect to the not-found page, which is answered 200."),
    Scenario(254, "moved", "page", "A redirect to the page of the same post under another id."),
    Scenario(255, "stranger", "page", "The page of another post, without a redirect."),
    Scenario(256, "friends", "page", "As private, but whole with a cookie of `sessions`."),
)

_MEDIA_STATUSES = tuple(
    Scenario(code, f"media.{status}", "media", f"Media are answered {status}.")
    for code, status in ((300, 403), (301, 404), (302, 429), (303, 503), (304, 500))
)

_MEDIA = (
    Scenario(310, "media.hang", "media", "No first byte."),
    Scenario(311, "media.stall", "media", "Stalls in the middle.", "KiB sent, 0 is half"),
    Scenario(312, "media.reset", "media", "Reset in the middle.", "KiB sent, 0 is half"),
    Scenario(313, "media.truncated", "media", "Closed early.", "KiB sent, 0 is half"),
    Scenario(314, "media.unsized", "media", "No Content-Length; whole for 0.", "KiB sent"),
    Scenario(315, "media.changed", "media", "Reset once, then other bytes and ETag.", "KiB sent"),
    Scenario(316, "media.slow", "media", "Media come at this speed.", "KiB/s", 64),
    Scenario(317, "media.takes", "media", "Media take this long.", "seconds", 10),
    Scenario(318, "media.norange", "media", "Range is ignored: always 200 and all bytes."),
    Scenario(319, "media.expired", "media", "403 to links of a video's first pages.", "pages", 1),
    Scenario(320, "media.broken", "media", "404 for one format.", "its place in the page", 3),
    Scenario(321, "media.html", "media", "An HTML page declared as a video."),
    Scenario(322, "media.short", "media", "Media play only this long.", "seconds, in fives", 5),
    Scenario(323, "media.soundonly", "media", "Videos have their sound only."),
    Scenario(324, "media.gzip", "media", "Content-Encoding gzip, whatever was asked for."),
    Scenario(325, "media.rest200", "media", "Reset once, then the rest as 200.", "KiB sent"),
    Scenario(326, "media.cut", "media", "The last tenth is missing, in the length too."),
    Scenario(330, "media.nosize", "media", "404 for all files of one size.", "pixels", 1080),
    Scenario(331, "media.nohost", "media", "404 from one of the two hosts.", "1 or 2", 1),
    Scenario(332, "media.mute", "media", "No sound from this size on; 0 is all.", "pixels"),
    Scenario(333, "media.nocodec", "media", "404 for H.264, or H.265.", "264 or 265", 264),
)

_CONNECTIONS = (
    Scenario(400, "connect.502", "connect", "The proxy answers CONNECT with 502."),
    Scenario(401, "connect.tls", "connect", "Reset during the TLS handshake."),
    Scenario(402, "connect.hang", "connect", "The proxy never answers CONNECT."),
    Scenario(410, "socks.reply", "socks", "The SOCKS proxy's reply to all.", "reply code", 1),
    Scenario(412, "socks.close", "socks", "The SOCKS proxy hangs up at once."),
    Scenario(413, "socks.http", "socks", "An HTTP server answers in place of the SOCKS proxy."),
    Scenario(411, "socks.methods", "socks", "The SOCKS proxy accepts no authentication method."),
)

_LISTS = (
    Scenario(500, "profile", "profile", "An account with this many posts.", "posts", 25),
    Scenario(501, "profile.private", "profile", "10222, a private account."),
    Scenario(502, "profile.missing", "profile", "10221, no such account."),
    Scenario(503, "profile.empty", "profile", "An account without posts."),
    Scenario(504, "profile.hidden", "profile", "An account that shows none of its posts."),
    Scenario(505, "profile.shell", "profile", "The page does not say whose it is."),
    Scenario(510, "collection", "collection", "A collection of this many posts.", "posts", 40),
    Scenario(520, "list.429", "list", "429 with Retry-After.", "seconds", 30),
    Scenario(521, "list.nothing", "list", "An answer without a body."),
    Scenario(522, "list.same", "list", "The first page again and again."),
    Scenario(523, "list.status", "list", "This status code and no list.", "status code", 10222),
)

SCENARIOS: tuple[Scenario, ...] = (
    *_POSTS,
    *_PAGE_STATUSES,
    *_PAGES,
    *_MEDIA_STATUSES,
    *_MEDIA,
    *_CONNECTIONS,
    *_LISTS,
)
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
BY_CODE = {scenario.code: scenario for scenario in SCENARIOS}
ORDINARY = Case(BY_NAME["ok"])


def scenario_named(name: str) -> Scenario:
    """The row of this name.

    Raises:
        ValueError: No scenario has that name.
    """
    if name not in BY_NAME:
        raise ValueError(f"no scenario is called {name!r}; there are: {', '.join(BY_NAME)}")
    return BY_NAME[name]
