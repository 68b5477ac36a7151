"""Douyin as far as yt-dlp's extractor uses it: the API of its web pages.

Of posts it has ``ok``, ``photo`` and ``unplayable`` (H.266 beside the rest); of pages the statuses,
``missing``, ``selfsee`` and ``members``: an empty answer without the cookie ``s_v_web_id``.
"""

import re
import time
from dataclasses import replace
from typing import Any

from tests.standin.links import Issue, image_url
from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.short_links import redirect
from tests.standin.site_answers import answer_page, json_reply
from tests.standin.streams import stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply

DOMAINS = ("douyin.com", "iesdouyin.com", "douyinvod.com", "douyinpic.com")
MEDIA = "v26-web.douyinvod.com"
PICTURES = "p3-pc-sign.douyinpic.com"
COOKIE = "s_v_web_id"
_SHORT = re.compile(r"/(?P<id>\d{1,20})/?")
_WITHHELD = {"missing": "status_deleted", "selfsee": "status_self_see"}


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a request for a post or a short link; None for one of a picture."""
    if request.host == PICTURES:
        return None
    if request.host == "v.douyin.com" and (short := _SHORT.fullmatch(request.path)):
        return redirect(f"https://www.iesdouyin.com/share/video/{short['id']}/?region=CN", 302)
    if request.path != "/aweme/v1/web/aweme/detail/":
        return text_reply(404, "no such page")

    def described(post: Post, case: Case) -> Reply:
        if case.scenario.name == "members" and not request.cookies.get(COOKIE):
            return text_reply(200, "")
        return _answer(post, case)

    return answer_page(request, switches, request.query["aweme_id"], described)


def _answer(post: Post, case: Case) -> Reply:
    if reason := _WITHHELD.get(case.scenario.name):
        withheld = {"filter_reason": reason, "notice": "作品不见了"}
        return json_reply({"aweme_detail": None, "filter_detail": withheld, "status_code": 0})
    return json_reply({"aweme_detail": _detail(post), "status_code": 0})


def _detail(post: Post) -> dict[str, Any]:
    detail = {
        "aweme_id": post.video_id,
        "desc": f"Post {post.video_id}",
        "create_time": post.created,
        "author": {"unique_id": post.author, "uid": "7", "nickname": "Someone"},
        "statistics": {"digg_count": 97},
        "video": _video(),
    }
    pictures = replace(post, image_extension="webp")
    urls = [
        image_url(pictures, PICTURES, f"image_{number}", Issue(time.time()))
        for number in range(1, post.images + 1)
    ]
    images = [{"url_list": [url], "width": 1080, "height": 1440} for url in urls]
    return detail | ({"images": images} if images else {})


def _video() -> dict[str, Any]:
    file = stream_address("file", MEDIA)
    return {
        "width": 720,
        "height": 1280,
        "duration": DURATION_SECONDS * 1000,
        "play_addr": {
            "url_list": [file],
            "url_key": "v1_h264_720p_800000",
            "width": 720,
            "height": 1280,
        },
        "bit_rate": [
            {
                "gear_name": "adapt_lowest_1080_1",
                "bit_rate": 900_000,
                "play_addr": {
                    "url_list": [f"{file}?codec=h266"],
                    "url_key": "v1_bytevc2_1080p_900000",
                },
            }
        ],
    }
