"""Bluesky as far as yt-dlp's extractor uses it: API, directory of accounts, a data server."""

import re
from functools import partial

from tests.standin.media_marks import marked
from tests.standin.posts import Post
from tests.standin.scenarios import Case
from tests.standin.site_answers import answer_page, json_reply
from tests.standin.streams import MOVIE, stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, whole

API = "public.api.bsky.app"
VIDEO = "video.bsky.app"
DIRECTORY = "plc.directory"
SERVER = "oyster.us-east.host.bsky.network"
DOMAINS = (
    *("bsky.app", "api.bsky.app", "us-east.host.bsky.network"),
    *(DIRECTORY, "own-server.example"),
)
_POST_URI = re.compile(r"at://(?P<account>[^/]+)/app\.bsky\.feed\.post/(?P<id>\d{1,20})")


def answer(request: Request, switches: Switches) -> Reply | None:
    """The replies of Bluesky's API and of the directory of its accounts."""
    if request.host == DIRECTORY:
        account = request.path.rpartition(":")[2]
        server = "https://own-server.example" if account == "own" else f"https://{SERVER}"
        service = {"type": "AtprotoPersonalDataServer", "serviceEndpoint": server}
        return json_reply({"service": [service]})
    if request.host == SERVER:
        return Reply(200, whole(marked(MOVIE)), (("Content-Type", "video/mp4"),), kind="media")
    found = _POST_URI.fullmatch(request.query.get("uri", ""))
    if request.host != API or found is None:
        return None
    return answer_page(request, switches, found["id"], partial(_thread, found["account"]))


def _thread(account: str, post: Post, case: Case) -> Reply:
    if case.scenario.name == "missing":
        return json_reply({"error": "NotFound", "message": "Post not found"}, 400)
    if case.scenario.name == "private":
        hidden = "app.bsky.feed.defs#blockedPost"
        return json_reply({"thread": {"$type": hidden, "blocked": True}})
    embed = {
        "$type": "app.bsky.embed.video#view",
        "cid": "bafkrei",
        "playlist": stream_address("hls", VIDEO),
        "aspectRatio": {"width": 720, "height": 1280},
    }
    if case.scenario.name == "stranger":
        embed = {"external": {"uri": "https://www.youtube.com/watch?v=abc"}}
    owner = "own" if account.startswith("own.") else "theirs"
    found = {
        "uri": f"at://did:plc:{owner}/app.bsky.feed.post/{post.video_id}",
        "author": {"did": f"did:plc:{owner}", "handle": account, "displayName": post.author},
        "record": {"text": f"Post {post.video_id}", "embed": {"video": {"mimeType": "video/mp4"}}},
        "embed": embed if case.scenario.name != "noitem" else {},
        "likeCount": 97,
        "indexedAt": "2026-01-01T00:00:00Z",
    }
    return json_reply({"thread": {"post": found}})
