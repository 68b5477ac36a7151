"""Twitch as far as yt-dlp's extractor of clips uses it: one GraphQL operation, and the files.

Of pages it has the statuses and ``missing`` (a deleted clip).
"""

import json
from typing import Any

from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.site_answers import answer_page, json_reply
from tests.standin.streams import stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply

DOMAINS = ("twitch.tv", "assets.clips.twitchcdn.net")
API = "gql.twitch.tv"
FILES = "production.assets.clips.twitchcdn.net"


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a GraphQL request for a clip."""
    if request.host != API or request.method != "POST":
        return text_reply(404, "no such page")
    (operation,) = json.loads(request.body)
    if operation["operationName"] != "ShareClipRenderStatus":
        return json_reply([{"errors": [{"message": "unknown operation"}]}])
    return answer_page(request, switches, operation["variables"]["slug"], _clip)


def _clip(post: Post, case: Case) -> Reply:
    clip = None if case.scenario.name == "missing" else _described(post)
    return json_reply([{"data": {"clip": clip}}])


def _described(post: Post) -> dict[str, Any]:
    files = [
        {"quality": side, "frameRate": 60.0, "sourceURL": stream_address("file", FILES)}
        for side in ("1080", "480")
    ]
    return {
        "id": "396245304",
        "title": f"Clip {post.video_id}",
        "durationSeconds": DURATION_SECONDS,
        "viewCount": 97,
        "createdAt": "2026-01-01T00:00:00Z",
        "broadcaster": {"id": "1", "displayName": "A Channel"},
        "curator": {"id": "2", "displayName": post.author},
        "playbackAccessToken": {"signature": "5e", "value": '{"expires":1}'},
        "assets": [
            {"aspectRatio": 1.7778, "videoQualities": files},
            {"aspectRatio": 0.5625, "videoQualities": files[:1]},
        ],
    }
