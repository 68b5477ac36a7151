"""Replies to page requests."""

import base64
import hashlib
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.standin import pages
from tests.standin.links import TOKEN_COOKIE, Issue
from tests.standin.posts import post_for
from tests.standin.scenarios import ORDINARY, Case
from tests.standin.sessions import is_logged_in
from tests.standin.short_links import redirect
from tests.standin.switches import Switches
from tests.standin.wire import (
    BEFORE_HEAD,
    Body,
    Cut,
    CutKind,
    Delivery,
    Headers,
    Reply,
    Request,
    text_reply,
    whole,
)

_HTML = ("Content-Type", "text/html; charset=utf-8")
_LOGIN = (
    "https://www.tiktok.com/login?redirect_url=https%3A%2F%2Fwww.tiktok.com%2F&enter_method=post"
)
_LAYOUT = b'<!DOCTYPE html><html><body><script id="__STATE__">{}</script></body></html>'
_REDIRECTS = {
    "notfound": "https://www.tiktok.com/notfound",
    "moved": "https://www.tiktok.com/@{}/video/{}",
}
# The page without a session.
_WITHOUT_SESSION = {"members": "login", "adults": "age", "friends": "private"}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """The requested page.

    Attributes:
        user: Of the URL.
        video_id: Of the post.
        number: Of this page among those of the video, from 1.
    """

    user: str
    video_id: str
    number: int = 1


def answer_page(request: Request, requested: PageRequest, switches: Switches) -> Reply:
    """The reply to a request for a post's page."""
    # A HEAD request only resolves a link: it does not count towards a case's times.
    choose = switches.peek if request.method == "HEAD" else switches.use
    case = choose("page", requested.video_id, requested.user, request.egress)
    page = _post(requested, choose("post", requested.video_id, requested.user, request.egress))
    return page_or_fault(request, requested, case, page)


def page_or_fault(request: Request, requested: PageRequest, case: Case, page: Reply) -> Reply:
    """The page, or the response that a case puts in its place."""
    if case is ORDINARY or (case.scenario.name in _WITHOUT_SESSION and is_logged_in(request)):
        return page
    if case.scenario.name.startswith("page."):
        return _fault(case, page)
    return _replacement(request, requested, case, page)


def _post(requested: PageRequest, case: Case) -> Reply:
    post = post_for(requested.video_id, user=requested.user, case=case)
    marker = requested.user if requested.user.startswith("sc_") else ""
    issue = Issue(time.time(), marker, requested.number)
    return _html(pages.post_page(post, issue), requested.video_id)


def _stranger(requested: PageRequest) -> Reply:
    """The page of another post than the requested one."""
    post = post_for(moved_id(requested.video_id), user="stranger")
    return _html(
        pages.post_page(post, Issue(time.time(), "", requested.number)), requested.video_id
    )


def moved_id(video_id: str) -> str:
    """The id of the ordinary post that a redirect or a wrong page refers to."""
    return f"7000{video_id[4:]}"


def _fault(case: Case, page: Reply) -> Reply:
    fault = _FAULTS.get(case.scenario.name)
    if fault is not None:
        return fault(page, case.value)
    status = int(case.scenario.name.removeprefix("page."))
    return text_reply(status, "the page is not to be had")


def _cut_short(page: Reply, kibibytes: int) -> Reply:
    return _cut(page, kibibytes << 10 or page.body.length // 2, "close")


def _cut(page: Reply, after_bytes: int, how: CutKind) -> Reply:
    return replace(page, delivery=Delivery(cut=Cut(after_bytes, how)))


def _broken_gzip(page: Reply, _: int) -> Reply:
    body = whole(b"\x1f\x8b\x08\x00" + b"this is not deflated " * 4096)
    return replace(page, body=body, headers=(*page.headers, ("Content-Encoding", "gzip")))


def _huge(page: Reply, mebibytes: int) -> Reply:
    filler = b"<!-- " + b"x" * (mebibytes << 20) + b" -->"
    return replace(page, body=whole(*map(bytes, page.body.chunks()), filler))


_FAULTS: dict[str, Callable[[Reply, int], Reply]] = {
    "page.429after": lambda _, s: text_reply(429, "slow down", ("Retry-After", str(s))),
    "page.hang": lambda page, _: _cut(page, BEFORE_HEAD, "hang"),
    "page.reset": lambda page, _: _cut(page, BEFORE_HEAD, "reset"),
    "page.truncated": _cut_short,
    "page.drip": lambda page, k: replace(page, delivery=Delivery(bytes_per_second=k << 10)),
    "page.slow": lambda page, ms: replace(page, delivery=Delivery(wait_seconds=ms / 1000)),
    "page.gzip": _broken_gzip,
    "page.huge": _huge,
}


def _replacement(request: Request, requested: PageRequest, case: Case, page: Reply) -> Reply:
    wall = _WITHOUT_SESSION.get(case.scenario.name, case.scenario.name)
    if wall == "login":
        return redirect(_LOGIN, 302)
    if wall.startswith("challenge"):
        return _challenge(request, requested, case, page)
    if wall in _REDIRECTS:
        return redirect(
            _REDIRECTS[wall].format(requested.user or "_", moved_id(requested.video_id)), 302
        )
    if wall == "stranger":
        return _stranger(requested)
    return _html(_wall(wall, requested, case), requested.video_id)


def _wall(wall: str, requested: PageRequest, case: Case) -> Body:
    match wall:
        case "layout":
            return whole(_LAYOUT)
        case "badjson":
            return pages.broken_page()
        case "captcha":
            return pages.captcha_page()
        case "age":
            return pages.classified_page(post_for(requested.video_id, user=requested.user))
        case "status":
            return pages.status_page(case.value, "")
        case name:
            return pages.status_page(*pages.STATUSES[name])


def _challenge(request: Request, requested: PageRequest, case: Case, page: Reply) -> Reply:
    solution = _SOLUTIONS[case.scenario.name](case, requested.video_id)
    cookie = request.cookies.get(pages.CHALLENGE_COOKIE, "")
    if case.scenario.name != "challenge.again" and pages.solves_challenge(cookie, solution):
        return page
    wall = pages.challenge_page(solution, second=case.scenario.name != "challenge.any")
    return _html(wall, requested.video_id)


_SOLUTIONS: dict[str, Callable[[Case, str], int | None]] = {
    "challenge": lambda case, _: case.value,
    "challenge.again": lambda case, _: case.value,
    "challenge.any": lambda _, video: zlib.crc32(video.encode()) % pages.CHALLENGE_NUMBERS,
    "challenge.none": lambda _case, _: None,
}


def _html(body: Body, video_id: str) -> Reply:
    return Reply(200, body, (_HTML, *_cookies(video_id)))


def _cookies(video_id: str) -> Headers:
    token = base64.b64encode(hashlib.md5(video_id.encode()).digest()).decode()
    scope = "Domain=.tiktok.com; Path=/; Secure"
    return (
        ("Set-Cookie", f"{TOKEN_COOKIE}={token}; {scope}; HttpOnly; Max-Age=15552000"),
        ("Set-Cookie", f"ttwid=1%7C{video_id}; {scope}; HttpOnly; Max-Age=31536000"),
    )
