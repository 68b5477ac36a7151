"""Pages and APIs that list posts: profiles, embedded profiles, collections."""

import time
from dataclasses import replace
from typing import Any

import orjson

from tests.standin import accounts, layout
from tests.standin.accounts import ListedPost
from tests.standin.ids import case_of_id
from tests.standin.item import Json, Links, account_fields, item_struct
from tests.standin.links import Issue
from tests.standin.page_answers import PageRequest, page_or_fault
from tests.standin.posts import post_for
from tests.standin.scenarios import BY_NAME, Case
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply, whole

PROFILE_PAGE = 15
COLLECTION_PAGE = 30
EMBEDDED = 3
"""Posts that an embedded profile shows."""

PROFILE_STATUSES = {"profile.private": 10222, "profile.missing": 10221}
_HTML = ("Content-Type", "text/html; charset=utf-8")
_JSON = ("Content-Type", "application/json; charset=utf-8")
_DETAIL = "webapp.user-detail"


def answer_profile(request: Request, name: str, switches: Switches) -> Reply:
    """The reply to a request for a profile's page."""
    choose = switches.peek if request.method == "HEAD" else switches.use
    case = choose("page", name, name, request.egress)
    profile = choose("profile", name, name, request.egress)
    page = Reply(200, whole(*_profile_page(name, profile)), (_HTML,))
    return page_or_fault(request, PageRequest(name, "0"), case, page)


def answer_embedded(request: Request, name: str, switches: Switches) -> Reply:
    """The reply to a request for the embeddable profile."""
    profile = switches.peek("profile", name, name, request.egress)
    shown = accounts.posts_from(name, _count(profile), 0, EMBEDDED)
    page = {"videoList": [{"id": post.video_id} for post in shown]}
    state = layout.dumps({"source": {"data": {f"/embed/@{name}": page}}})
    script = b'<script id="__FRONTITY_CONNECT_STATE__" type="application/json">'
    body = whole(b"<!DOCTYPE html><html><body>", script, state, b"</script></body></html>")
    return Reply(200, body, (_HTML,))


def answer_profile_list(request: Request, switches: Switches) -> Reply:
    """The reply to a request for posts of an account older than a cursor."""
    name = accounts.name_of(request.query.get("secUid", ""))
    cursor = request.query.get("cursor", "")
    if name is None or not cursor.isdecimal():
        return _json({"statusCode": 10201, "statusMsg": "invalid parameters"})
    fault = switches.use("list", name, name, request.egress)
    if reply := _refusal(fault):
        return reply
    profile = switches.peek("profile", name, name, request.egress)
    repeated = fault.scenario.name == "list.same"
    index = 0 if repeated else accounts.place_before(int(cursor))
    hidden = profile.scenario.name == "profile.hidden"
    posts = [] if hidden else accounts.posts_from(name, _count(profile), index, PROFILE_PAGE)
    more = hidden or repeated or index + PROFILE_PAGE < _count(profile)
    return _json({**_items(posts, name), "hasMorePrevious": more})


def answer_collection_list(request: Request, switches: Switches) -> Reply:
    """The reply to a request for posts of a collection from a cursor on."""
    number, cursor = request.query.get("collectionId", ""), request.query.get("cursor", "")
    if not number.isdecimal() or not cursor.isdecimal():
        return _json({"statusCode": 10201, "statusMsg": "invalid parameters"})
    if reply := _refusal(switches.use("list", number, "", request.egress)):
        return reply
    case = case_of_id(number)
    count = case.value if case.scenario.name == "collection" else BY_NAME["collection"].default
    posts = accounts.posts_from(number, count, int(cursor), COLLECTION_PAGE)
    end = int(cursor) + COLLECTION_PAGE
    return _json({**_items(posts), "hasMore": end < count, "cursor": str(end)})


def _count(profile: Case) -> int:
    """The number of posts of a profile; ``profile`` is the default case."""
    if profile.scenario.name == "profile.empty":
        return 0
    return profile.value if profile.scenario.default else BY_NAME["profile"].default


def _profile_page(name: str, profile: Case) -> tuple[bytes, ...]:
    detail = layout.dumps(_user_detail(name, profile))
    return layout.page_start(_DETAIL), detail, layout.page_end()


def _user_detail(name: str, profile: Case) -> Json:
    status = PROFILE_STATUSES.get(profile.scenario.name, 0)
    response: Json = {"statusCode": status, "statusMsg": ""}
    if profile.scenario.name in {"profile.missing", "profile.shell"}:
        return response | {"userInfo": {}}
    count = 0 if status else _count(profile)
    stats = {"followerCount": 5120, "followingCount": 64, "heart": 9000, "videoCount": count}
    return response | {"userInfo": {"user": account_fields(name), "stats": stats, "itemList": []}}


def _items(posts: list[ListedPost], author: str = "") -> Json:
    return {"itemList": [_item(post, author) for post in posts], "statusCode": 0}


def _item(listed: ListedPost, author: str) -> dict[str, Any]:
    post = post_for(listed.video_id, user=author, case=case_of_id(listed.video_id))
    item = item_struct(post, Links(post, Issue(time.time())))
    return item | {"createTime": listed.created}


def _refusal(fault: Case) -> Reply | None:
    """The error reply to a request for a list, None for a list."""
    match fault.scenario.name:
        case "list.429":
            return text_reply(429, "too many requests", ("Retry-After", str(fault.value)))
        case "list.nothing":
            return replace(_json({}), body=whole())
        case "list.status":
            return _json({"statusCode": fault.value, "statusMsg": ""})
        case _:
            return None


def _json(value: Json) -> Reply:
    return Reply(200, whole(orjson.dumps(value)), (_JSON,))
