"""The HTML of a post, of a status instead of a post, and of captcha and challenge pages."""

import base64
import hashlib

import orjson

from tests.standin import layout
from tests.standin.item import Json, Links, classified_item, item_struct
from tests.standin.links import Issue
from tests.standin.posts import Post
from tests.standin.wire import Body, whole

CHALLENGE_COOKIE = "_wafchallengeid"
CHALLENGE_NUMBERS = 1_000_001
"""Number of possible solutions of a challenge: 0 to a million."""
_SHARE = {"title": "clip on TikTok", "desc": "10 Likes, 2 Comments"}

# Status code and statusMsg of `webapp.video-detail` as recorded from live pages.
STATUSES = {
    "deleted": (10204, "item_privacy_authorization&status_deleted"),
    "region": (10204, "cross_border_violation_ur"),
    "blocked": (10204, ""),
    "private": (10216, ""),
    "privateaccount": (10222, ""),
    "withheld": (10231, ""),
    "selfsee": (10204, "status_self_see"),
    "reviewing": (10204, "author_status,status_reviewing"),
    "geofence": (10204, "person_geo_fencing"),
    "noitem": (0, ""),
    "audit": (10204, "status_audit_not_pass"),
    "copyright": (10204, "copyright_geo_filter"),
    "classified": (10204, "content_classification"),
    "missing": (10204, "item doesn't exist"),
    "other": (10204, "item_words_of_another_year"),
}


def post_page(post: Post, issue: Issue) -> Body:
    """The page of a visible post."""
    item = layout.dumps(item_struct(post, Links(post, issue)))
    return _page(
        b'{"itemInfo":{"itemStruct":' + item[:-1] + layout.item_filler() + b"},"
        b'"shareMeta":' + layout.dumps(_SHARE) + b',"statusCode":0,"statusMsg":""}'
    )


def classified_page(post: Post) -> Body:
    """The page of a post that requires a login for its classification."""
    return _detail({"itemInfo": {"itemStruct": classified_item(post)}, "statusCode": 0})


def status_page(code: int, message: str) -> Body:
    """The page with a status instead of a post."""
    return _detail({"statusCode": code, "statusMsg": message})


def broken_page() -> Body:
    """A page with truncated universal data."""
    return _page(b'{"itemInfo":')


def captcha_page() -> Body:
    """The captcha page, without a challenge that a program could solve."""
    return whole(
        b"<!DOCTYPE html><html><head><title>TikTok</title></head><body>"
        b'<p id="wait">Please wait...</p><script src="/captcha/index.js"></script></body></html>'
    )


def challenge_page(solution: int | None, *, second: bool = True) -> Body:
    """The proof-of-work page: the solution is the number with the given digest after the seed.

    Args:
        solution: The number; None for an unsolvable challenge.
        second: Whether a second cookie is to be set.
    """
    packed = _b64(orjson.dumps(_task(solution))).rstrip("=")
    elements = [("wci", CHALLENGE_COOKIE), ("cs", packed)]
    elements += [("rci", "waforiginalreid"), ("rs", "r1")] if second else []
    marks = "".join(f'<p id="{name}" class="{value}"></p>' for name, value in elements)
    return whole(
        b'<!DOCTYPE html> <html lang="en"> <head> <link rel="icon" href="data:;base64,=">'
        b'<script id="slardar-config" type="application/json">{"slardarClient": "SlardarWAF",'
        b'"bid": "slardar_us_waf", "pid": "pid"}</script></head> <body> Please wait... '
        + marks.encode()
        + b'<script src="https://www.tiktok.com/obj/waf-aiso/index.js"></script></body></html>'
    )


def solves_challenge(cookie: str, solution: int | None) -> bool:
    """Whether a cookie holds the whole challenge with its solution."""
    if solution is None:
        return False
    answer = {**_task(solution), "d": _b64(b"%d" % solution)}
    try:
        return bool(orjson.loads(base64.b64decode(cookie)) == answer)
    except (ValueError, TypeError):
        return False


def _task(solution: int | None) -> Json:
    """The challenge: a seed of 32 bytes, a time, a digest, and a signature of these."""
    seed = hashlib.sha256(f"seed {solution}".encode()).digest()
    number = b"none" if solution is None else b"%d" % solution
    digest, sign = hashlib.sha256(seed + number), hashlib.sha256(b"stand-in" + seed)
    task = {"a": _b64(seed), "b": 1_767_225_600, "c": _b64(digest.digest())}
    return {"v": task, "s": _b64(sign.digest())}


def _detail(detail: Json) -> Body:
    return _page(layout.dumps(detail))


def _page(detail: bytes) -> Body:
    return whole(layout.page_start(), detail, layout.page_end())


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
