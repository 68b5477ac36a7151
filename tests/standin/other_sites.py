"""Other sites: two as far as yt-dlp's extractors `Streamable` and `HitRecord` use them, and one
made up, that of the example of a platform by code.

They use the stand-in's ids (`ids.video_id`), which fit both sites' formats: an id encodes its
scenario here too. Supported are all scenarios of the surface ``media``; of pages the statuses
(``page.404``), ``missing`` (the site's own message) and ``login``; of posts ``kilobytes``,
``size``, ``linklife``, ``hls`` and ``dash`` (of the made-up site), ``noformats`` (Smooth Streaming
instead of files) and ``hostile`` (the file is on a foreign host).
"""

import re
import time
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from tests.standin import bluesky, douyin, facebook, instagram, reddit, twitch, vimeo, x, youtube
from tests.standin.ids import case_of_id
from tests.standin.links import Issue, image_url, media_url
from tests.standin.media_shapes import shape_of
from tests.standin.posts import DURATION_SECONDS, Post, media_bytes
from tests.standin.scenarios import Case
from tests.standin.short_links import redirect
from tests.standin.site_answers import answer_page, json_reply
from tests.standin.streams import answer_stream, stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply

STREAMABLE_API = "ajax.streamable.com"
STREAMABLE_MEDIA = "cdn-cf-east.streamable.com"
HITRECORD = "hitrecord.org"
HITRECORD_MEDIA = "media.hitrecord.org"
HITRECORD_SHORT = "go.hitrecord.org"
ELSEWHERE = "files.elsewhere.example"
ELSEWHERE_API = "clips.elsewhere.example"
SITES: tuple[ModuleType, ...] = (
    bluesky,
    douyin,
    facebook,
    instagram,
    reddit,
    twitch,
    vimeo,
    x,
    youtube,
)
"""Sites with a module of their own: ``DOMAINS``, and ``answer(request, switches)``."""

DOMAINS = (
    *("streamable.com", "hitrecord.org", "elsewhere.example"),
    *(domain for site in SITES for domain in site.DOMAINS),
)

FILES = {"mp4": "h264_720p_800000", "mp4-mobile": "h264_540p_480000"}
"""Streamable's file names, and their formats in the stand-in. HitRecord has the first."""

_ROUTES = {
    STREAMABLE_API: re.compile(r"/videos/(?P<id>\d{1,20})"),
    HITRECORD: re.compile(r"/api/web/records/(?P<id>\d{1,20})"),
    ELSEWHERE_API: re.compile(r"/api/clips/(?P<id>\d{1,20})"),
}
_SHORT = re.compile(r"/(?P<id>\d{1,20})/?")


def is_other_site(host: str) -> bool:
    """Whether a host name belongs to one of these sites."""
    return _is_host_of(host, DOMAINS)


def _is_host_of(host: str, domains: Iterable[str]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def answer_other_page(request: Request, switches: Switches) -> Reply | None:
    """The reply to a metadata request, None for a media request."""
    if request.host == HITRECORD_SHORT and (short := _SHORT.fullmatch(request.path)):
        return redirect(f"https://{HITRECORD}/records/{short['id']}?utm_source=share")
    if stream := answer_stream(request):
        return stream
    if site := next((each for each in SITES if _is_host_of(request.host, each.DOMAINS)), None):
        reply: Reply | None = site.answer(request, switches)
        return reply
    route = _ROUTES.get(request.host)
    found = route.fullmatch(request.path) if route else None
    if found is None:
        return text_reply(404, "no such page") if route else None
    described = _DESCRIBED[request.host]
    return answer_page(
        request, switches, found["id"], lambda post, case: json_reply(described(post, case))
    )


def _streamable(post: Post, case: Case) -> dict[str, Any]:
    return {
        "status": 3 if case.scenario.name == "missing" else 2,
        "title": f"Clip {post.video_id}",
        "files": {name: _file(post, name) for name in FILES},
        "owner": {"user_name": post.author},
        "date_added": float(post.created),
        "duration": float(DURATION_SECONDS),
        "plays": 97,
        "thumbnail_url": "//cdn-cf-east.streamable.com/image/cover.jpg",
    }


def _file(post: Post, name: str) -> dict[str, Any]:
    rendition = FILES[name]
    shape = shape_of(post, rendition)
    return {
        "url": _address(post, STREAMABLE_MEDIA, rendition).removeprefix("https:"),
        "width": shape.width,
        "height": shape.height,
        "size": media_bytes(post, rendition),
        "framerate": 30,
        "bitrate": int(rendition.rpartition("_")[2]),
        "input_metadata": {"video_codec_name": "h264", "audio_codec_name": "aac"},
    }


def _hitrecord(post: Post, case: Case) -> dict[str, Any]:
    address = _address(post, HITRECORD_MEDIA, FILES["mp4"])
    return {
        "title": f"Record {post.video_id}",
        "source_url": {} if case.scenario.name == "missing" else {"mp4_url": address},
        "body": "<p>made together</p>",
        "duration": DURATION_SECONDS * 1000,
        "created_at_i": post.created,
        "user": {"id": 7, "username": post.author},
        "total_views_count": 97,
        "tags": [{"text": "short"}],
    }


def _elsewhere(post: Post, case: Case) -> dict[str, Any]:
    shape, scenario = shape_of(post, FILES["mp4"]), case_of_id(post.video_id).scenario.name
    offered = (
        {scenario: stream_address(scenario, ELSEWHERE)}
        if scenario in {"hls", "dash"}
        else {"file": _address(post, ELSEWHERE, FILES["mp4"])}
    )
    return {
        **offered,
        "title": f"Clip {post.video_id}",
        "author": post.author,
        "seconds": DURATION_SECONDS,
        "cover": image_url(post, ELSEWHERE, "cover", Issue(time.time())),
        "width": shape.width,
        "height": shape.height,
        "withdrawn": case.scenario.name == "missing",
    }


_DESCRIBED = {STREAMABLE_API: _streamable, HITRECORD: _hitrecord, ELSEWHERE_API: _elsewhere}


def _address(post: Post, host: str, rendition: str) -> str:
    if not post.play:
        return f"https://{host}/{post.video_id}/stream.ism/manifest"
    media_host = ELSEWHERE if post.author == ".." else host
    return media_url(post, media_host, rendition, Issue(time.time()))
