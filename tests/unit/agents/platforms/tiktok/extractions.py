"""Results of our extractor for the stand-in's posts, without a request."""

from datetime import UTC, datetime
from typing import Any

import msgspec
from yt_dlp import YoutubeDL

from agents.engine.results import to_json
from agents.platforms.tiktok.page import TikTokIE
from schemas.video import Cookie, EngineVersions, Extraction, VideoRef
from tests.standin.ids import case_of_id, video_id
from tests.standin.item import Links, item_struct
from tests.standin.links import Issue
from tests.standin.posts import post_for

EXTRACTED_AT = datetime(2026, 2, 20, 7, 20, tzinfo=UTC)
VERSIONS = EngineVersions(yt_dlp="2026.10.26", curl_cffi="0.16.3")
TOKEN = Cookie(name="tt_chain_token", value="abc==", domain=".tiktok.com")


def video_of(scenario: str = "ok", param: int = 0) -> VideoRef:
    """Return the video of a scenario."""
    number = video_id(scenario, param=param)
    return VideoRef(
        platform="tiktok", id=number, url=f"https://www.tiktok.com/@name/video/{number}"
    )


def raw_of(scenario: str = "ok", param: int = 0) -> dict[str, Any]:
    """Return the info dictionary of a scenario's post, from our extractor, as serialized."""
    video = video_of(scenario, param)
    post = post_for(video.id, user="name", case=case_of_id(video.id))
    item = item_struct(post, Links(post, Issue(EXTRACTED_AT.timestamp())))
    with YoutubeDL({"quiet": True}, auto_init=False) as ydl:
        extractor = TikTokIE(ydl)
        found = extractor._parse_aweme_video_web(item, video.url, video.id)
    raw: dict[str, Any] = msgspec.json.decode(to_json(found))
    return raw


def extraction_of(raw: object, cookies: tuple[Cookie, ...] = (TOKEN,)) -> Extraction:
    """Return an extraction with this result."""
    return Extraction(
        raw=msgspec.Raw(msgspec.json.encode(raw)),
        engine=VERSIONS,
        extracted_at=EXTRACTED_AT,
        cookies=cookies,
    )
