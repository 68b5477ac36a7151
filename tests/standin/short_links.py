"""Short links: the code encodes the kind of redirect and the video id, in base 36."""

import re

from tests.standin import layout
from tests.standin.posts import post_for
from tests.standin.wire import BEFORE_HEAD, Cut, Delivery, Reply, Request, text_reply, whole

# Letter after the leading Z, and the link's target.
KINDS = {
    "video": "M",
    "photo": "P",
    "story": "Y",
    "profile": "U",  # of the video's author
    "collection": "K",  # with the video's id
    "live": "V",  # of the video's author
    "chain": "C",  # via www.tiktok.com/t/ to the video
    "dead": "D",  # 404
    "loop": "L",  # to itself
    "outside": "O",  # to a host that is not TikTok
    "loopback": "I",  # to http://127.0.0.1/
    "home": "H",
    "login": "G",
    "page": "N",  # 200 and no redirect
    "nowhere": "X",  # 301 with an empty Location
    "browser": "B",  # 200 for link previews, to the video for browsers
    "app": "A",  # 301 with an empty Location for link previews, to the video for browsers
    "wall": "F",  # to the login for link previews, to the video for browsers
    "way": "Z",  # 200, but to the video through egress "b"
    "lite": "E",  # to the video, like TikTok Lite's links
    "escaped": "R",  # to the video, the at sign of its author percent-encoded
    "shared": "Q",  # to the home page with the video's id
    "account": "J",  # to the number of the video's author
    "limited": "T",  # 429
    "broken": "S",  # 503
    "hang": "W",  # no response
}
# The kind for link previews, in place of the video.
_FOR_BROWSERS = {"browser": "page", "app": "nowhere", "wall": "login"}
_LETTERS = {letter: kind for kind, letter in KINDS.items()}
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CODE = re.compile(r"Z(?P<letter>[A-Z])(?P<number>[0-9A-Z]{1,13})", re.ASCII)
_TRACKING = "?_r=1&_t=ZM-8xStandIn"


def short_code(video_id: str, kind: str = "video") -> str:
    """The code of a short link.

    Args:
        video_id: Of its target, or of the post that owns it.
        kind: One of `KINDS`.
    """
    number, digits = int(video_id), ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return f"Z{KINDS[kind]}{digits or '0'}"


def read_code(code: str) -> tuple[str, str] | None:
    """Kind and video id of a code, None for an invalid code."""
    match = _CODE.fullmatch(code)
    kind = _LETTERS.get(match["letter"]) if match else None
    return (kind, str(int(match["number"], 36))) if match and kind else None


def answer_short_link(code: str, request: Request) -> Reply:
    """The reply to a request for a short link."""
    kind, video_id = read_code(code) or ("dead", "0")
    if kind in _FOR_BROWSERS and not is_browser(request):
        kind = _FOR_BROWSERS[kind]
    if kind == "way" and request.egress != "b":
        kind = "page"
    match kind:
        case "dead":
            return text_reply(404, "this link leads nowhere")
        case "page":
            return Reply(200, whole(layout.other_page()), (("Content-Type", "text/html"),))
        case "limited":
            return text_reply(429, "too many requests", ("Retry-After", "30"))
        case "broken":
            return text_reply(503, "try later")
        case "hang":
            return Reply(200, whole(), delivery=Delivery(cut=Cut(BEFORE_HEAD, "hang")))
        case _:
            return redirect(_target(kind, video_id, f"https://{request.host}{request.path}"))


def is_browser(request: Request) -> bool:
    """Whether the User-Agent of a request is a browser."""
    return request.headers.get("user-agent", "").startswith("Mozilla/5.0")


def answer_account(number: str) -> Reply:
    """The reply to an account link by number, which is the id of one of its videos."""
    return redirect(_target("profile", number, ""))


def redirect(location: str, status: int = 301) -> Reply:
    return text_reply(status, "moved", ("Location", location))


def _target(kind: str, video_id: str, url: str) -> str:
    author = post_for(video_id).author
    targets = {
        "photo": f"https://www.tiktok.com/@{author}/photo/{video_id}{_TRACKING}",
        "story": f"https://www.tiktok.com/@{author}/story/{video_id}{_TRACKING}",
        "profile": f"https://www.tiktok.com/@{author}{_TRACKING}",
        "collection": f"https://www.tiktok.com/@{author}/collection/cats-{video_id}{_TRACKING}",
        "live": f"https://www.tiktok.com/@{author}/live{_TRACKING}",
        "chain": f"https://www.tiktok.com/t/{short_code(video_id)}/",
        "loop": url,
        "outside": f"https://clips.example.com/video/{video_id}",
        "loopback": "http://127.0.0.1/",
        "home": "https://www.tiktok.com/",
        "nowhere": "",
        "lite": f"https://t.tiktok.com/i18n/share/video/{video_id}/?_d=x&share_item_id={video_id}",
        "escaped": f"https://www.tiktok.com/%40{author}/video/{video_id}{_TRACKING}",
        "shared": f"https://www.tiktok.com/?share_item_id={video_id}&_r=1",
        "account": f"https://www.tiktok.com/share/user/{video_id}",
        "login": "https://www.tiktok.com/login?redirect_url=https%3A%2F%2Fwww.tiktok.com%2F",
    }
    ordinary = f"https://www.tiktok.com/@{author}/video/{video_id}{_TRACKING}"
    return targets.get(kind, ordinary)
