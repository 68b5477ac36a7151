"""Vimeo as far as yt-dlp's extractor uses it: the page of the player, with its configuration.

Of posts it has ``hls`` and ``dash``, which are offered that way alone; of pages the statuses,
``private`` (a video that plays on certain sites only) and ``members`` (one with a password).
"""

import json
import re

from tests.standin.ids import case_of_id
from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.site_answers import answer_page, html_reply
from tests.standin.streams import stream_address
from tests.standin.subtitles import answer_subtitles, subtitle_path
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply

DOMAINS = ("vimeo.com", "vimeocdn.com", "vod-progressive.akamaized.net")
PLAYER = "player.vimeo.com"
FILES = "vod-progressive.akamaized.net"
STREAMS = "vod-adaptive-ak.vimeocdn.com"
REFUSED = "Because of its privacy settings, this video cannot be played here."
TEXT_TRACKS = {
    "en-US": subtitle_path("en.vtt"),
    "de": subtitle_path("latin.srt"),
    "fr": subtitle_path("styled.ttml"),
    "es-x-autogen": subtitle_path("en.vtt"),
    "it": subtitle_path("gone.vtt"),
    "nl": subtitle_path("huge.vtt"),
    "sv": subtitle_path("bomb.vtt"),
    "da": subtitle_path("binary.vtt"),
    "fi": "https://files.elsewhere.example/fi.vtt",
    "no": "file:///etc/passwd",
    "../../pl": subtitle_path("en.vtt"),
}
"""Subtitles of every video by language; those from Italian to Norwegian cannot be had."""

_PAGE = re.compile(r"/video/(?P<id>\d{1,20})")


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a request for a page, None for another one."""
    if request.host == PLAYER and (subtitles := answer_subtitles(request)):
        return subtitles
    found = _PAGE.fullmatch(request.path)
    if request.host != PLAYER or found is None:
        return text_reply(404, "no such page")
    return answer_page(request, switches, found["id"], _page)


def _page(post: Post, case: Case) -> Reply:
    if case.scenario.name == "private":
        return html_reply(f"<h1>Sorry</h1><p>{REFUSED}</p>", 403)
    config = {"view": 4} if case.scenario.name == "members" else _config(post)
    return html_reply(f"<script>window.playerConfig = {json.dumps(config)}</script>")


def _config(post: Post) -> dict[str, object]:
    only = case_of_id(post.video_id).scenario.name
    streams = {
        kind: {"cdns": {"akfire_interconnect_quic": {"url": stream_address(kind, STREAMS)}}}
        for kind in ("hls", "dash")
        if only in {kind, "ok"}
    }
    progressive = {
        "url": stream_address("file", FILES),
        "quality": "720p",
        "width": 720,
        "height": 1280,
        "fps": 30,
    }
    return {
        "view": 1,
        "request": {
            "files": {"progressive": [progressive] if only == "ok" else [], **streams},
            "text_tracks": [{"lang": lang, "url": url} for lang, url in TEXT_TRACKS.items()],
        },
        "video": {
            "id": int(post.video_id),
            "title": f"Clip {post.video_id}",
            "duration": DURATION_SECONDS,
            "owner": {"name": post.author, "url": "https://vimeo.com/someone"},
            "thumbs": {"640": "https://i.vimeocdn.com/video/1_640.jpg"},
        },
    }
