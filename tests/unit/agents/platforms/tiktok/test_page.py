import json
from collections.abc import Iterator
from typing import Any

import pytest
from yt_dlp import YoutubeDL
from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE
from yt_dlp.utils import ExtractorError

from agents.engine.extractors import load_extractor
from agents.platforms.tiktok.handler import EXTRACTOR
from agents.platforms.tiktok.page import REDIRECTED_TO, TikTokIE

DATA_START = '<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">'


@pytest.fixture(scope="module")
def downloader() -> Iterator[Any]:
    with YoutubeDL({"quiet": True, "no_warnings": True}, auto_init=False) as downloader:
        yield downloader


def page(scope: Any) -> str:
    return f"<html>{DATA_START}{json.dumps({'__DEFAULT_SCOPE__': scope})}</script></html>"


def recorded_facts(downloader: Any, webpage: str) -> dict[str, str]:
    extractor = TikTokIE(downloader)
    extractor._get_universal_data(webpage, "1")
    return extractor.facts


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (
            {"statusCode": 10204, "statusMsg": "status_deleted"},
            {"status_code": "10204", "status_message": "status_deleted"},
        ),
        ({"statusCode": 0, "statusMsg": ""}, {"status_code": "0", "status_message": ""}),
        ({"statusCode": 10216}, {"status_code": "10216"}),
        ({"statusMsg": None}, {}),
        ({"statusCode": [1]}, {"status_code": "[1]"}),
        ({}, {}),
        ([], {}),
        ("text", {}),
        (None, {}),
    ],
    ids=str,
)
def test_status_of_the_page_is_recorded(
    downloader: Any, detail: Any, expected: dict[str, str]
) -> None:
    assert recorded_facts(downloader, page({"webapp.video-detail": detail})) == expected


@pytest.mark.parametrize(
    "webpage",
    ["", "<html></html>", page({}), page([]), page(None), f"{DATA_START}{{broken</script>"],
    ids=["empty", "no data", "no detail", "a list", "null", "broken"],
)
def test_other_pages_have_no_facts(downloader: Any, webpage: str) -> None:
    assert recorded_facts(downloader, webpage) == {}


@pytest.mark.parametrize(
    "webpage", [page({"webapp.video-detail": {"statusCode": 1}}), "", page([])]
)
def test_data_is_that_of_the_stock_extractor(downloader: Any, webpage: str) -> None:
    ours, stock = TikTokIE(downloader), StockTikTokIE(downloader)
    assert ours._get_universal_data(webpage, "1") == stock._get_universal_data(webpage, "1")


def test_extractor_has_the_names_of_the_stock_extractor() -> None:
    assert (TikTokIE.IE_NAME, TikTokIE.ie_key()) == (StockTikTokIE.IE_NAME, StockTikTokIE.ie_key())


def test_only_known_methods_are_overridden() -> None:
    overridden = {name for name in vars(TikTokIE) if hasattr(StockTikTokIE, name)}
    # yt-dlp stores the compiled pattern on the class that is matched first.
    own = overridden - set(dir(type)) - {"__doc__", "__module__", "_VALID_URL_RE"}
    assert own <= {"__init__", "_get_universal_data", "_parse_aweme_video_web"}


ITEM = {
    "id": "1",
    "desc": "x",
    "imagePost": {"images": [{"imageURL": {"urlList": ["https://a/1"]}}]},
}


def parsed(extractor: Any, item: Any, **options: Any) -> Any:
    return extractor._parse_aweme_video_web(item, "https://www.tiktok.com/1", "1", **options)


@pytest.mark.parametrize("options", [{}, {"extract_flat": True}], ids=str)
def test_photo_post_has_additional_pictures(downloader: Any, options: dict[str, Any]) -> None:
    ours, stock = (parsed(kind(downloader), ITEM, **options) for kind in (TikTokIE, StockTikTokIE))
    (image,) = ours.pop("images")
    assert (image["urls"], image["width"], image["motion"]) == (["https://a/1"], None, [])
    assert ours == stock


def test_other_posts_have_no_pictures_field(downloader: Any) -> None:
    item = {"id": "1", "desc": "x", "imagePost": {"images": []}}
    assert parsed(TikTokIE(downloader), item) == parsed(StockTikTokIE(downloader), item)


@pytest.mark.parametrize("music", [{"duration": 60}, {"duration": None}, {}])
def test_song_has_the_duration_of_the_page(music: Any, downloader: Any) -> None:
    item = {"id": "1", "desc": "x", "music": {"playUrl": "https://a/1.mp3", **music}}
    (song,) = parsed(TikTokIE(downloader), item)["formats"]
    assert (song["vcodec"], song["duration"]) == ("none", music.get("duration"))


def test_facts_belong_to_one_extractor(downloader: Any) -> None:
    first, second = TikTokIE(downloader), TikTokIE(downloader)
    first.facts["a"] = "b"
    assert second.facts == {}


def test_extractor_is_loaded_by_its_path() -> None:
    assert load_extractor(EXTRACTOR) is TikTokIE


# Identity of the page

REQUESTED = "7608826249200356630"
OTHER = "7999999999999999999"
PAGE = f"https://www.tiktok.com/@_/video/{REQUESTED}"
VIDEO = {
    "id": REQUESTED,
    "duration": 15,
    "bitrateInfo": [
        {
            "CodecType": "h264",
            "PlayAddr": {
                "UrlList": ["https://v16-webapp-prime.us.tiktok.com/video/x/?tk=tt_chain_token"],
                "UrlKey": "v1_h264_1080p_2500000",
            },
        }
    ],
}


def item_of(number: object, **more: Any) -> dict[str, Any]:
    return {"id": number, "desc": "a clip", "author": {"uniqueId": "u"}, "video": VIDEO, **more}


def outcome(downloader: Any, item: Any, found_at: str = PAGE) -> tuple[Any, dict[str, str]]:
    """Return the extractor's result for an item of a page at this URL, and its facts."""
    extractor = TikTokIE(downloader)
    extractor.page_url = found_at
    try:
        return extractor._parse_aweme_video_web(item, PAGE, REQUESTED), extractor.facts
    except ExtractorError as error:
        return error.orig_msg, extractor.facts


@pytest.mark.parametrize("number", [REQUESTED, int(REQUESTED), None, ""], ids=repr)
def test_page_of_the_requested_post_is_accepted(downloader: Any, number: object) -> None:
    info, facts = outcome(downloader, item_of(number))
    assert (info["id"], len(info["formats"]), facts) == (REQUESTED, 1, {})
    assert REDIRECTED_TO not in info


@pytest.mark.parametrize(
    ("number", "found_at"),
    [
        (OTHER, PAGE),
        (int(OTHER), PAGE),
        (REQUESTED[:-1], PAGE),
        (f"{REQUESTED} ", PAGE),
        ([REQUESTED], PAGE),
        ({"id": REQUESTED}, PAGE),
        (True, PAGE),
        # A redirect to a third post, to no post, and by another site.
        (OTHER, "https://www.tiktok.com/@_/video/7111111111111111111"),
        (OTHER, "https://www.tiktok.com/@stranger"),
        (OTHER, f"https://tiktok.example/@_/video/{OTHER}"),
        (OTHER, ""),
    ],
    ids=str,
)
def test_page_of_another_post_is_rejected(downloader: Any, number: object, found_at: str) -> None:
    result, facts = outcome(downloader, item_of(number), found_at)
    assert result == "The page describes another post"
    assert facts == {"page_id": str(number)}


@pytest.mark.parametrize(
    "found_at",
    [
        f"https://www.tiktok.com/@someone/video/{OTHER}",
        f"https://www.tiktok.com/@someone/photo/{OTHER}?lang=en",
        f"https://m.tiktok.com/v/{OTHER}.html",
    ],
)
def test_redirect_to_another_id_of_the_post_is_recorded(downloader: Any, found_at: str) -> None:
    info, _ = outcome(downloader, item_of(OTHER), found_at)
    assert (info["id"], info[REDIRECTED_TO]) == (REQUESTED, OTHER)


# Posts withheld by TikTok

SONG = {"playUrl": "https://v16-webapp-prime.us.tiktok.com/music/x.mp3", "duration": 60}


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        ({"video": {"playAddr": ""}, "music": SONG, "isECVideo": 1, "isAd": True}, "shop"),
        ({"video": {"playAddr": "", "bitrateInfo": []}, "isECVideo": True}, "shop"),
        ({"video": {}, "music": SONG, "isECVideo": "1"}, "shop"),
        ({"video": {"bitrateInfo": None}, "music": SONG, "isAd": True}, "ad"),
        ({"video": None, "isAd": 1}, "ad"),
    ],
    ids=["as reported", "without a song", "empty video", "ad", "no video at all"],
)
def test_shop_or_ad_post_without_its_video_is_withheld(
    downloader: Any, more: dict[str, Any], kind: str
) -> None:
    result, facts = outcome(downloader, item_of(REQUESTED, **more))
    assert result == "The page has no video of a shop or ad post"
    assert facts == {"withheld": kind}


@pytest.mark.parametrize(
    "more",
    [
        {"isECVideo": 1, "isAd": True},
        {"video": {"playAddr": ""}, "music": SONG},
        {"video": {"playAddr": ""}, "music": SONG, "isECVideo": 0, "isAd": False},
        {"video": {"playAddr": ""}, "music": SONG, "isECVideo": [], "isAd": "no"},
        {"video": {}, "music": SONG, "isAd": True, "imagePost": ITEM["imagePost"]},
    ],
    ids=["with its video", "no flag", "flags that are off", "odd flags", "pictures"],
)
def test_other_posts_are_not_withheld(downloader: Any, more: dict[str, Any]) -> None:
    info, facts = outcome(downloader, item_of(REQUESTED, **more))
    assert (info["id"], facts) == (REQUESTED, {})


def test_listed_post_is_not_checked(downloader: Any) -> None:
    item = item_of(REQUESTED, video={}, isAd=True)
    info = TikTokIE(downloader)._parse_aweme_video_web(item, PAGE, REQUESTED, extract_flat=True)
    assert info["formats"] is None
