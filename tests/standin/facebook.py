"""Facebook as far as yt-dlp's extractor uses it: the page of a video with its data.

Of posts it has ``ok``; of pages the statuses, ``missing`` (Facebook's message), ``private`` and
``login`` (a page that asks for a login; ``members`` only without the cookie ``xs``).
"""

import json
import re
from typing import Any
from urllib.parse import quote

from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.short_links import redirect
from tests.standin.site_answers import answer_page, html_reply
from tests.standin.streams import dash_manifest, stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply

DOMAINS = ("facebook.com", "fb.watch", "xx.fbcdn.net")
MEDIA = "video-fra3-1.xx.fbcdn.net"
COOKIE = "xs"
LOGIN = '<form id="login_form"></form>'
GONE = '<div class="uiInterstitialContent"><div>The video may have been removed.</div></div>'
_SHORT = re.compile(r"/(?:share/[rv]/)?(?P<id>\d{1,20})/?")


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a request for a video or a short link."""
    short = _SHORT.fullmatch(request.path)
    if short and (request.host == "fb.watch" or "/share/" in request.path):
        return redirect(f"https://www.facebook.com/reel/{short['id']}/?s=yWDuG2", 302)
    if request.path != "/watch/":
        return text_reply(404, "no such page")

    def described(post: Post, case: Case) -> Reply:
        if case.scenario.name == "members" and not request.cookies.get(COOKIE):
            return html_reply(LOGIN)
        return _page(post, case)

    return answer_page(request, switches, request.query["v"], described)


def _page(post: Post, case: Case) -> Reply:
    if case.scenario.name == "missing":
        return html_reply(GONE)
    if case.scenario.name in {"private", "login"}:
        return html_reply(LOGIN)
    box = {"__bbox": {"result": {"data": {"video": _video(post)}}}}
    data = {"require": [["RelayPrefetchedStreamCache", "next", [], ["adp_Video", box]]]}
    return html_reply(
        f'<meta property="og:title" content="Reel {post.video_id}">'
        f'<script type="application/json" data-sjs>{json.dumps(data)}</script>'
    )


def _video(post: Post) -> dict[str, Any]:
    files = [
        {"progressive_url": stream_address("file", MEDIA), "metadata": {"quality": quality}}
        for quality in ("SD", "HD")
    ]
    delivery = {
        "dash_manifests": [{"manifest_xml": quote(dash_manifest())}],
        "dash_manifest_urls": [{"manifest_url": stream_address("dash", MEDIA)}],
        "progressive_urls": files,
    }
    return {
        "id": post.video_id,
        "owner": {"id": "7", "name": post.author},
        "publish_time": post.created,
        "playable_duration_in_ms": DURATION_SECONDS * 1000,
        "videoDeliveryResponseFragment": {"videoDeliveryResponseResult": delivery},
    }
