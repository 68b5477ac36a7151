"""YouTube as far as yt-dlp's extractor uses it: pages, the player's API, and a player.

Ids have eleven characters: `short_id` is the stand-in's id in them. Of posts it has ``ok``, and
``ciphered``, whose addresses only the program of the player can decipher, for another client; of
pages the statuses (of the API), ``missing``, ``private``, ``age``, ``captcha`` (a check for bots)
and ``blocked`` (a limited session).
"""

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.standin.ids import case_of_id
from tests.standin.posts import DURATION_SECONDS, Post
from tests.standin.scenarios import Case
from tests.standin.site_answers import answer_page, html_reply, json_reply
from tests.standin.streams import stream_address
from tests.standin.subtitles import ROLLING
from tests.standin.switches import Switches
from tests.standin.wire import Reply, Request, text_reply

DOMAINS = ("youtube.com", "googlevideo.com")
FILES = "rr3---sn-4g5edn6k.googlevideo.com"
LINK_SECONDS = 21_600
CLIENT = "VISIONOS"
"""The client that needs no challenges; others get none of the files."""

CIPHER_CLIENT = "TVHTML5"
"""The client that gets ciphered addresses."""

PLAYER_ID = "0123abcd"
PLAYER = Path(__file__).with_name("youtube_player.js")
"""Small, in the form of YouTube's: it turns ``n`` around, and the signature without its last."""

SIGNATURE = "0123456789abcdef"
CHALLENGE = "stand-in"

EMBED = (
    '<script>ytcfg.set({"INNERTUBE_CONTEXT": {"client": {"clientName": "WEB_EMBEDDED_PLAYER", '
    '"clientVersion": "1.0"}}});</script>'
)

_OWNER = {"videoOwnerRenderer": {"title": {"simpleText": "A Channel"}}}
_PARTS = [{"videoSecondaryInfoRenderer": {"owner": _OWNER}}]
RELATED = {
    "contents": {"twoColumnWatchNextResults": {"results": {"results": {"contents": _PARTS}}}}
}
"""The answer beside the player: who published the video."""

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_CHARACTERS = 11
CAPTIONS = {
    "captionTracks": [
        {
            "baseUrl": "https://www.youtube.com/api/timedtext?lang=nl",
            "vssId": ".nl",
            "languageCode": "nl",
            "name": {"simpleText": "Dutch"},
            "isTranslatable": True,
        },
        {
            "baseUrl": "https://www.youtube.com/api/timedtext?lang=en&kind=asr",
            "vssId": "a.en",
            "languageCode": "en",
            "kind": "asr",
            "name": {"simpleText": "English (auto-generated)"},
            "isTranslatable": True,
        },
    ],
    "translationLanguages": [
        {"languageCode": code, "languageName": {"simpleText": code}} for code in ("de", "en")
    ],
}
"""Subtitles of the author in Dutch, and of speech recognition in English with a translation."""

_REASONS = {
    "missing": ("ERROR", "Video unavailable"),
    "private": ("LOGIN_REQUIRED", "Private video"),
    "age": ("LOGIN_REQUIRED", "Sign in to confirm your age"),
    "captcha": ("LOGIN_REQUIRED", "Sign in to confirm you're not a bot"),
    "blocked": ("UNPLAYABLE", "This content isn't available, try again later"),
}


def short_id(video_id: str) -> str:
    """The id in eleven characters."""
    rest, characters = int(video_id), ""
    for _ in range(_CHARACTERS):
        rest, digit = divmod(rest, len(_ALPHABET))
        characters = _ALPHABET[digit] + characters
    return characters


def _video_id(code: str) -> str:
    number = 0
    for character in code:
        number = number * len(_ALPHABET) + _ALPHABET.index(character)
    return str(number)


def answer(request: Request, switches: Switches) -> Reply | None:
    """The reply to a request for a page or to the API."""
    if request.path == "/api/timedtext":
        # Without a token YouTube answers with nothing to some clients.
        return text_reply(200, ROLLING if "kind" in request.query else "")
    if static := _static(request.path):
        return static
    if request.path != "/youtubei/v1/player":
        return text_reply(404, "no such page")
    asked = json.loads(request.body)
    client = asked["context"]["client"]["clientName"]

    def described(post: Post, case: Case) -> Reply:
        return _player(post, case, asked["videoId"], client)

    return answer_page(request, switches, _video_id(asked["videoId"]), described)


def _static(path: str) -> Reply | None:
    if path.startswith(f"/s/player/{PLAYER_ID}/"):
        return text_reply(200, PLAYER.read_text())
    if path.startswith("/embed/"):
        return html_reply(EMBED)
    replies = {
        "/watch": html_reply("<html>"),
        "/iframe_api": text_reply(200, f"'https://www.youtube.com/s/player/{PLAYER_ID}/'"),
        "/youtubei/v1/next": json_reply(RELATED),
    }
    return replies.get(path)


def _player(post: Post, case: Case, code: str, client: str) -> Reply:
    details = {
        "videoId": code,
        "title": f"Clip {post.video_id}",
        "lengthSeconds": str(DURATION_SECONDS),
        "author": post.author,
        "channelId": "UC" + "a" * 22,
        "viewCount": "97",
        "isLiveContent": False,
    }
    status, reason = _REASONS.get(case.scenario.name, ("OK", ""))
    playability = {"status": status} | ({"reason": reason} if reason else {})
    answer: dict[str, Any] = {"playabilityStatus": playability, "videoDetails": details}
    is_ciphered = case_of_id(post.video_id).scenario.name == "ciphered"
    if status == "OK" and client == (CIPHER_CLIENT if is_ciphered else CLIENT):
        answer["streamingData"] = _ciphered(_files()) if is_ciphered else _files()
        answer["captions"] = {"playerCaptionsTracklistRenderer": CAPTIONS}
    return json_reply(answer)


def _files() -> dict[str, Any]:
    expiry = f"?expire={int(time.time()) + LINK_SECONDS}"
    picture = {
        "itag": 136,
        "url": stream_address("silent", FILES) + expiry,
        "mimeType": 'video/mp4; codecs="avc1.4d401f"',
        "bitrate": 1_500_000,
        "width": 720,
        "height": 1280,
        "quality": "hd720",
        "qualityLabel": "720p",
    }
    sound = {
        "itag": 140,
        "url": stream_address("sound", FILES) + expiry,
        "mimeType": 'audio/mp4; codecs="mp4a.40.2"',
        "bitrate": 130_000,
        "audioQuality": "AUDIO_QUALITY_MEDIUM",
        "audioSampleRate": "48000",
    }
    return {"adaptiveFormats": [picture, sound]}


def _ciphered(files: dict[str, Any]) -> dict[str, Any]:
    """Files whose addresses lack the signature, and have a challenge."""
    for each in files["adaptiveFormats"]:
        url = f"{each.pop('url')}&n={CHALLENGE}"
        each["signatureCipher"] = urlencode({"s": f"{SIGNATURE}!", "sp": "sig", "url": url})
    return files
