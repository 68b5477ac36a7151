"""Routes: which answer belongs to a host and a path."""

import re
from dataclasses import replace

from tests.standin import layout
from tests.standin.counters import Counters
from tests.standin.links import media_address
from tests.standin.media_answers import answer_media
from tests.standin.page_answers import Asked, answer_page
from tests.standin.short_links import answer_short_link, read_code
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply, whole

_DOMAINS = ("tiktok.com", "tiktokv.com", "tiktokcdn.com", "tiktokcdn-us.com")
_PAGE_HOSTS = {"www.tiktok.com", "tiktok.com", "m.tiktok.com", "www.tiktokv.com"}
_SHORT_HOSTS = {"vm.tiktok.com", "vt.tiktok.com"}
_POST = re.compile(
    r"/(?:share|@(?P<user>[\w.-]{0,40}))/(?:video|photo)/(?P<id>\d{1,20})/?", re.ASCII
)
# Of an author, who is never live.
_PROFILE = re.compile(r"/@[\w.-]{1,40}(?:/live)?/?", re.ASCII)
_SHORT = re.compile(r"/(?:t/)?(?P<code>\w{1,40})/?", re.ASCII)


class Site:
    """Answers requests of all TikTok hosts.

    Args:
        switches: What is on.
        counters: Where requests are counted.
    """

    def __init__(self, switches: Switches, counters: Counters) -> None:
        self._switches = switches
        self._counters = counters

    def answer(self, request: Request) -> Reply:
        """The reply to a request, counted."""
        reply = self._route(request)
        kind = f"{reply.kind}_head" if request.method == "HEAD" else reply.kind
        self._counters.count(kind, reply.video_id, reply.status, request.egress)
        late = reply.delivery.wait_seconds + self._switches.latency_seconds
        return replace(reply, delivery=replace(reply.delivery, wait_seconds=late))

    def _route(self, request: Request) -> Reply:
        if request.method not in {"GET", "HEAD"}:
            return text_reply(405, "only GET and HEAD", ("Allow", "GET, HEAD"))
        is_page_host = request.host in _PAGE_HOSTS
        if is_page_host and (post := _POST.fullmatch(request.path)):
            return self._page(request, post["user"] or "", post["id"])
        if request.host in _SHORT_HOSTS or (is_page_host and request.path.startswith("/t/")):
            return _short(request)
        if is_page_host:
            return _other(request.path)
        return self._media(request)

    def _page(self, request: Request, user: str, video_id: str) -> Reply:
        generation = self._counters.of(video_id) + 1
        reply = answer_page(request, Asked(user, video_id, generation), self._switches)
        return replace(reply, kind="page", video_id=video_id)

    def _media(self, request: Request) -> Reply:
        address = media_address(request.path)
        if address is None:
            return text_reply(404, "no such file")
        reply = answer_media(request, address, self._switches)
        picture = address.format_id == "cover" or address.format_id.startswith("image_")
        return replace(reply, kind="image" if picture else "media", video_id=address.video_id)


def is_tiktok(host: str) -> bool:
    """Whether a host name is one the stand-in answers for."""
    return any(host == domain or host.endswith(f".{domain}") for domain in _DOMAINS)


def _short(request: Request) -> Reply:
    match = _SHORT.fullmatch(request.path)
    code = match["code"] if match else ""
    _, video_id = read_code(code) or ("", "")
    reply = answer_short_link(code, f"https://{request.host}{request.path}")
    return replace(reply, kind="short", video_id=video_id)


def _other(path: str) -> Reply:
    if path in {"/", "/login", "/foryou", "/explore"} or _PROFILE.fullmatch(path):
        return Reply(200, whole(layout.other_page()), (("Content-Type", "text/html"),))
    return text_reply(404, "no such page")
