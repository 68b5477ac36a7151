"""Instagram as far as yt-dlp's extractor uses it: sessions, GraphQL, and the API of its app.

Of posts it has ``ok`` (a reel), ``photo`` (pictures, and a video in the second place) and
``photo.mute`` with one picture; of pages the statuses, ``missing``, ``members`` (only with the
cookie ``sessionid``) and ``login`` (a redirect to the login page).
"""

import re
import time
from typing import Any

from tests.standin.ids import case_of_id
from tests.standin.links import Issue, image_url
from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.short_links import redirect
from tests.standin.site_answers import answer_page, html_reply, json_reply
from tests.standin.streams import stream_address
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply

DOMAINS = ("instagram.com", "instagr.am", "cdninstagram.com")
MEDIA = "scontent.cdninstagram.com"
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_INFO = re.compile(r"/api/v1/media/(?P<number>\d{1,60})/info/")
_NUMBER = re.compile(rb"media_id%22%3A%22(?P<number>\d{1,60})")
_PAGE = re.compile(r"/p/(?P<id>[\w-]{1,64})/?")
_SHARE = re.compile(r"/share/reel/(?P<id>[\w-]{1,64})/?")
HOME = '<script type="application/json" id="__eqmc">{"l": "lsd"}</script>'


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a request for a session or a post; None for one of a picture."""
    if request.host == MEDIA:
        return None
    return _session(request) or _post(request, switches) or text_reply(404, "no such page")


def _session(request: Request) -> Reply | None:
    if request.path in {"/", "/accounts/login/"}:
        return html_reply(HOME)
    if shared := _SHARE.fullmatch(request.path):
        return redirect(f"https://www.instagram.com/reel/{shared['id']}/?igsh=1")
    if request.path != "/api/v1/web/get_ruling_for_content/":
        return None
    ruling = json_reply({"status": "ok"})
    cookie = ("Set-Cookie", "csrftoken=1; Domain=.instagram.com; Path=/; Secure")
    return Reply(200, ruling.body, (*ruling.headers, cookie))


def _post(request: Request, switches: Switches) -> Reply | None:
    if found := _INFO.fullmatch(request.path):
        return answer_page(request, switches, _code_of(found["number"]), _app_answer)
    if request.path == "/api/graphql" and (number := _NUMBER.search(request.body)):
        code = _code_of(number["number"].decode())
        return answer_page(request, switches, code, _graphql)
    page = _PAGE.fullmatch(request.path)
    return answer_page(request, switches, page["id"], _page) if page else None


def _code_of(number: str) -> str:
    rest, code = int(number), ""
    while rest:
        rest, digit = divmod(rest, len(_ALPHABET))
        code = _ALPHABET[digit] + code
    return code


def _app_answer(post: Post, case: Case) -> Reply:
    del case
    return json_reply({"items": [_described(post)]})


def _graphql(post: Post, case: Case) -> Reply:
    shown = None if case.scenario.name in {"missing", "members", "login"} else _described(post)
    return json_reply({"data": {"xig_polaris_media": {"if_not_gated_logged_out": shown}}})


def _page(post: Post, case: Case) -> Reply:
    del post
    if case.scenario.name == "missing":
        return html_reply("Sorry, this page isn't available.", 404)
    if case.scenario.name == "login":
        return redirect("https://www.instagram.com/accounts/login/?next=x", 302)
    return html_reply("<html>")


def _described(post: Post) -> dict[str, Any]:
    described = {
        "caption": {"text": f"Post {post.video_id}"},
        "title": f"Post {post.video_id}",
        "user": {"username": "someone", "full_name": post.author, "pk": "7"},
        "taken_at": post.created,
        "like_count": 97,
    }
    if case_of_id(post.video_id).scenario.name not in {"photo", "photo.mute"}:
        return described | _video()
    files = [_picture(post, number) for number in range(1, post.images + 1)]
    if len(files) == 1:
        return described | files[0]
    return described | {"carousel_media": [files[0], _video(), *files[2:]]}


def _video() -> dict[str, Any]:
    versions = [
        {
            "id": f"{kind}v",
            "type": kind,
            "width": side,
            "height": side * 16 // 9,
            "url": stream_address("file", MEDIA),
        }
        for kind, side in ((101, 720), (102, 360))
    ]
    return {"video_versions": versions, "video_duration": DURATION_SECONDS, "has_audio": True}


def _picture(post: Post, number: int) -> dict[str, Any]:
    url = image_url(post, MEDIA, f"image_{number}", Issue(time.time()))
    sizes = [{"url": url, "width": width, "height": width} for width in (1080, 640)]
    return {"image_versions2": {"candidates": sizes}}
