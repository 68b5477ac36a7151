"""Routes requests by host and path to their replies."""

import re
from dataclasses import replace

from tests.standin import layout
from tests.standin.accounts import name_of
from tests.standin.counters import Counters
from tests.standin.links import DEAD_IMAGE_HOST, media_address
from tests.standin.lists import (
    answer_collection_list,
    answer_embedded,
    answer_profile,
    answer_profile_list,
)
from tests.standin.media_answers import answer_media
from tests.standin.other_sites import answer_other_page, is_other_site
from tests.standin.page_answers import PageRequest, answer_page
from tests.standin.sessions import Sessions
from tests.standin.short_links import answer_account, answer_short_link, read_code
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply, whole

_DOMAINS = ("tiktok.com", "tiktokv.com", "tiktokcdn.com", "tiktokcdn-us.com")
_PAGE_HOSTS = {
    *("www.tiktok.com", "tiktok.com", "m.tiktok.com", "us.tiktok.com", "lite.tiktok.com"),
    *("t.tiktok.com", "www.tiktokv.com"),
}
_SHORT_HOSTS = {"vm.tiktok.com", "vt.tiktok.com"}
_POST = re.compile(
    r"/(?:share|@(?P<user>[\w.-]{0,40}))/(?:video|photo|story)/(?P<id>\d{1,20})/?", re.ASCII
)
_PROFILE = re.compile(r"/(?P<embed>embed/)?@(?P<name>[\w.-]{1,40})/?", re.ASCII)
# Page of a livestream; no author is ever live.
_LIVE = re.compile(r"/@[\w.-]{1,40}/live/?", re.ASCII)
_ACCOUNT = re.compile(
    r"(?:/i18n|/h5)?/share/(?:user|usr)/(?P<number>\d{1,20})(?:\.html)?/?", re.ASCII
)
_LISTS = {
    "/api/creator/item_list/": (answer_profile_list, "secUid"),
    "/api/collection/item_list/": (answer_collection_list, "collectionId"),
}
_SHORT = re.compile(r"/(?:t/)?(?P<code>\w{1,40})/?", re.ASCII)


class Site:
    """Answers requests for all hosts.

    Args:
        switches: Behaviour of the stand-in.
        counters: Of requests.
    """

    def __init__(self, switches: Switches, counters: Counters) -> None:
        self._switches = switches
        self._counters = counters
        self._sessions = Sessions()

    def answer(self, request: Request) -> Reply:
        """Count a request and return its reply."""
        reply = self._route(request)
        kind = f"{reply.kind}_head" if request.method == "HEAD" else reply.kind
        self._counters.count(kind, reply.video_id, reply.status, request.egress)
        delay = reply.delivery.wait_seconds + self._switches.latency_seconds
        return replace(reply, delivery=replace(reply.delivery, wait_seconds=delay))

    def _route(self, request: Request) -> Reply:
        is_api_call = request.method == "POST" and is_other_site(request.host)
        if request.method not in {"GET", "HEAD"} and not is_api_call:
            return text_reply(405, "only GET and HEAD", ("Allow", "GET, HEAD"))
        if is_other_site(request.host):
            return answer_other_page(request, self._switches) or self._media(request)
        is_page_host = request.host in _PAGE_HOSTS
        if is_page_host and (reply := self._posts(request)):
            return reply
        if request.host in _SHORT_HOSTS or (is_page_host and request.path.startswith("/t/")):
            return _short(request)
        return _other(request.path) if is_page_host else self._media(request)

    def _posts(self, request: Request) -> Reply | None:
        """The reply to a request for a post, or for a list of posts."""
        if post := _POST.fullmatch(request.path):
            return self._page(request, post["user"] or "", post["id"])
        if profile := _PROFILE.fullmatch(request.path):
            return self._profile(request, profile["name"], embedded=bool(profile["embed"]))
        if account := _ACCOUNT.fullmatch(request.path):
            return replace(answer_account(account["number"]), kind="short")
        return self._list(request) if request.path in _LISTS else None

    def _page(self, request: Request, user: str, video_id: str) -> Reply:
        generation = self._counters.of(video_id) + 1
        requested = PageRequest(user, video_id, generation)
        reply = self._refusal(request) or self._sessions.answer(
            request, lambda admitted: answer_page(admitted, requested, self._switches)
        )
        return replace(reply, kind="page", video_id=video_id)

    def _refusal(self, request: Request) -> Reply | None:
        # A HEAD request only resolves a link: it does not count.
        is_counted = request.method == "GET"
        return self._switches.rate_limit.refusal(request.egress) if is_counted else None

    def _profile(self, request: Request, name: str, *, embedded: bool) -> Reply:
        answer = answer_embedded if embedded else answer_profile
        kind = "embed" if embedded else "profile"
        return replace(answer(request, name, self._switches), kind=kind, video_id=name)

    def _list(self, request: Request) -> Reply:
        answer, parameter = _LISTS[request.path]
        owner = request.query.get(parameter, "")
        reply = answer(request, self._switches)
        return replace(reply, kind="listing", video_id=name_of(owner) or owner)

    def _media(self, request: Request) -> Reply:
        address = media_address(request.path)
        if address is None or request.host == DEAD_IMAGE_HOST:
            return text_reply(404, "no such file")
        reply = answer_media(request, address, self._switches)
        picture = address.format_id == "cover" or address.format_id.startswith("image_")
        return replace(reply, kind="image" if picture else "media", video_id=address.video_id)


def is_standin_host(host: str) -> bool:
    """Whether the stand-in answers for a host name."""
    tiktok = any(host == domain or host.endswith(f".{domain}") for domain in _DOMAINS)
    return tiktok or is_other_site(host)


def _short(request: Request) -> Reply:
    match = _SHORT.fullmatch(request.path)
    code = match["code"] if match else ""
    _, video_id = read_code(code) or ("", "")
    reply = answer_short_link(code, request)
    return replace(reply, kind="short", video_id=video_id)


def _other(path: str) -> Reply:
    if path in {"/", "/login", "/foryou", "/explore", "/notfound"} or _LIVE.fullmatch(path):
        return Reply(200, whole(layout.other_page()), (("Content-Type", "text/html"),))
    return text_reply(404, "no such page")
