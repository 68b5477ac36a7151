"""X as far as yt-dlp's extractor uses it: guest tokens, GraphQL, and the API of embedded posts.

Of posts it has ``ok``, ``photo`` (as many videos as pictures), ``silent`` (a GIF) and ``noformats``
(a text); of pages the statuses, ``private`` (a protected account), ``missing``, ``blocked`` (a
suspended account) and ``adults`` (only for logged-in readers).
"""

import json
import re
from typing import Any

from tests.standin.ids import case_of_id
from tests.standin.media_marks import marked
from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.site_answers import answer_page, json_reply
from tests.standin.streams import MOVIE, SILENT, stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply, whole

DOMAINS = ("x.com", "twitter.com", "twimg.com", "syndication.twimg.com")
EMBED = "cdn.syndication.twimg.com"
MEDIA = "video.twimg.com"
TOKEN = "1"
_FILE = re.compile(r"/(?P<kind>ext_tw_video|tweet_video)/\d+/vid/\d+x\d+/\d\.mp4")
_REFUSALS: dict[str, dict[str, Any]] = {
    "missing": {},
    "private": {"__typename": "TweetUnavailable", "reason": "Protected"},
    "adults": {"__typename": "TweetUnavailable", "reason": "NsfwLoggedOut"},
    "blocked": {
        "__typename": "TweetTombstone",
        "tombstone": {"text": {"text": "This Post is from a suspended account. Learn more"}},
    },
}


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a request for a token, a post or a file."""
    if request.host == MEDIA and (file := _FILE.fullmatch(request.path)):
        movie = SILENT if file["kind"] == "tweet_video" else MOVIE
        return Reply(200, whole(marked(movie)), (("Content-Type", "video/mp4"),), kind="media")
    if request.path == "/1.1/guest/activate.json" and request.method == "POST":
        return json_reply({"guest_token": TOKEN})
    if request.host == EMBED and request.path == "/tweet-result":
        return answer_page(request, switches, request.query.get("id", ""), _embedded)
    if request.path.endswith("/TweetResultByRestId"):
        if request.headers.get("x-guest-token") != TOKEN:
            return json_reply({"errors": [{"message": "Bad guest token"}]}, 403)
        post = str(json.loads(request.query["variables"])["tweetId"])
        return answer_page(request, switches, post, _graphql)
    return text_reply(404, "no such page")


def _graphql(post: Post, case: Case) -> Reply:
    result = _REFUSALS.get(case.scenario.name)
    if result is None:
        user = {"name": post.author, "screen_name": "someone", "id_str": "7"}
        result = {
            "__typename": "Tweet",
            "core": {"user_results": {"result": {"legacy": user}}},
            "views": {"count": "97"},
            "legacy": {
                "full_text": f"Post {post.video_id}",
                "created_at": "Thu Jan 01 00:00:00 +0000 2026",
                "extended_entities": {"media": _media(post)},
            },
        }
    return json_reply({"data": {"tweetResult": {"result": result}}})


def _embedded(post: Post, case: Case) -> Reply:
    del case
    return json_reply(
        {
            "text": f"Post {post.video_id}",
            "user": {"name": post.author, "screen_name": "someone"},
            "mediaDetails": _media(post),
        }
    )


def _media(post: Post) -> list[dict[str, Any]]:
    scenario = case_of_id(post.video_id).scenario.name
    if scenario == "noformats":
        return []
    is_gif = scenario == "silent"
    return [_described(number, is_gif=is_gif) for number in range(1, max(post.images, 1) + 1)]


def _described(number: int, *, is_gif: bool) -> dict[str, Any]:
    kind = "tweet_video" if is_gif else "ext_tw_video"
    rates = {"64x64": 0} if is_gif else {"320x568": 632_000, "720x1280": 2_176_000}
    variants: list[dict[str, Any]] = [
        {
            "content_type": "video/mp4",
            "bitrate": rate,
            "url": f"https://{MEDIA}/{kind}/{number}/vid/{size}/{number}.mp4",
        }
        for size, rate in rates.items()
    ]
    if not is_gif:
        variants.insert(0, {"url": stream_address("hls", MEDIA)})
    return {
        "id_str": str(number),
        "type": "animated_gif" if is_gif else "video",
        "media_url_https": f"https://pbs.twimg.com/{number}.jpg",
        "sizes": {"large": {"w": 720, "h": 1280}},
        "video_info": {"duration_millis": DURATION_SECONDS * 1000, "variants": variants},
    }
