"""Reddit as far as yt-dlp's extractor uses it: sessions, and the JSON of a post.

Of posts it has ``ok`` and ``noformats`` (a text); of pages the statuses, ``private`` (the community
is), ``missing`` (a banned community), ``reviewing`` (a video in processing) and ``stranger`` (a
link to another site). Without its session cookie a request is refused, as Reddit does.
"""

import re
from typing import Any

from tests.standin.ids import case_of_id
from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.short_links import redirect
from tests.standin.site_answers import answer_page, json_reply
from tests.standin.streams import stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply, whole

DOMAINS = ("reddit.com", "redd.it")
MEDIA = "v.redd.it"
SESSION_PAGES = re.compile(r"/|/svc/shreddit/.*")
_POST = re.compile(r"/comments/(?P<id>\d{1,20})/\.json")
_SHARED = re.compile(r"/(?:r/\w+/s|video)/(?P<id>\d{1,20})")
_VIDEO = re.compile(r"/(?P<id>\d{1,20})")
_REFUSALS = {"private": "private", "missing": "banned"}


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a request for a post, a session or a short link."""
    if request.host == MEDIA and (video := _VIDEO.fullmatch(request.path)):
        return redirect(f"https://www.reddit.com/video/{video['id']}")
    if shared := _SHARED.fullmatch(request.path):
        return redirect(f"https://www.reddit.com/r/clips/comments/{shared['id']}/a_clip/?rdt=1")
    if SESSION_PAGES.fullmatch(request.path):
        return Reply(200, whole(b"<html>"), (("Set-Cookie", "loid=1; Domain=.reddit.com; Path=/"),))
    found = _POST.fullmatch(request.path)
    if found is None or request.host == MEDIA:
        return text_reply(404, "no such page")
    if not request.cookies.get("loid") or request.cookies.get("over18") != "1":
        return json_reply({"error": 403, "message": "Forbidden"}, 403)
    return answer_page(request, switches, found["id"], _listing)


def _listing(post: Post, case: Case) -> Reply:
    if reason := _REFUSALS.get(case.scenario.name):
        return json_reply({"reason": reason, "message": "Forbidden", "error": 403}, 403)
    return json_reply([{"data": {"children": [{"data": _post(post, case)}]}}])


def _post(post: Post, case: Case) -> dict[str, Any]:
    described = {
        "title": f"Clip {post.video_id}",
        "author": post.author,
        "subreddit": "clips",
        "created_utc": float(post.created),
        "ups": 97,
        "num_comments": 3,
        "over_18": False,
        "url": f"https://v.redd.it/{post.video_id}",
    }
    if case.scenario.name == "stranger":
        return described | {"url": "https://www.youtube.com/watch?v=abc"}
    if case.scenario.name == "reviewing":
        return described
    if case_of_id(post.video_id).scenario.name == "noformats":
        page = f"https://www.reddit.com/r/clips/comments/{post.video_id}/a_clip/"
        return described | {"url": page, "selftext": "a text"}
    return described | {"secure_media": {"reddit_video": _video()}}


def _video() -> dict[str, Any]:
    return {
        "fallback_url": stream_address("silent", MEDIA),
        "hls_url": f"{stream_address('hls', MEDIA)}?a=1&amp;f=sd",
        "dash_url": f"{stream_address('dash', MEDIA)}?a=1&amp;v=1",
        "width": 720,
        "height": 1280,
        "duration": DURATION_SECONDS,
        "bitrate_kbps": 2400,
    }
