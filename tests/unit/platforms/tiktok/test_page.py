import json
from collections.abc import Iterator
from typing import Any

import pytest
from yt_dlp import YoutubeDL
from yt_dlp.extractor.tiktok import TikTokIE as StockTikTokIE

from agents.engine.extractors import load_extractor
from agents.platforms.tiktok.page import EXTRACTOR, TikTokIE

DATA_START = '<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">'


@pytest.fixture(scope="module")
def downloader() -> Iterator[Any]:
    with YoutubeDL({"quiet": True, "no_warnings": True}, auto_init=False) as downloader:
        yield downloader


def page(scope: Any) -> str:
    return f"<html>{DATA_START}{json.dumps({'__DEFAULT_SCOPE__': scope})}</script></html>"


def noted(downloader: Any, webpage: str) -> dict[str, str]:
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
def test_notes_what_the_page_says(downloader: Any, detail: Any, expected: dict[str, str]) -> None:
    assert noted(downloader, page({"webapp.video-detail": detail})) == expected


@pytest.mark.parametrize(
    "webpage",
    ["", "<html></html>", page({}), page([]), page(None), f"{DATA_START}{{broken</script>"],
    ids=["empty", "no data", "no detail", "a list", "null", "broken"],
)
def test_notes_nothing_about_other_pages(downloader: Any, webpage: str) -> None:
    assert noted(downloader, webpage) == {}


@pytest.mark.parametrize(
    "webpage", [page({"webapp.video-detail": {"statusCode": 1}}), "", page([])]
)
def test_finds_what_the_stock_extractor_finds(downloader: Any, webpage: str) -> None:
    ours, stock = TikTokIE(downloader), StockTikTokIE(downloader)
    assert ours._get_universal_data(webpage, "1") == stock._get_universal_data(webpage, "1")


def test_has_the_names_of_the_stock_extractor() -> None:
    assert (TikTokIE.IE_NAME, TikTokIE.ie_key()) == (StockTikTokIE.IE_NAME, StockTikTokIE.ie_key())


def test_changes_nothing_else() -> None:
    overridden = {name for name in vars(TikTokIE) if hasattr(StockTikTokIE, name)}
    # yt-dlp keeps the compiled pattern of a class on the class that was asked first.
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
def test_photo_post_has_its_pictures_besides(downloader: Any, options: dict[str, Any]) -> None:
    ours, stock = (parsed(kind(downloader), ITEM, **options) for kind in (TikTokIE, StockTikTokIE))
    assert ours.pop("images") == [{"urls": ["https://a/1"], "width": None, "height": None}]
    assert ours == stock


def test_other_posts_have_no_such_field(downloader: Any) -> None:
    item = {"id": "1", "desc": "x", "imagePost": {"images": []}}
    assert parsed(TikTokIE(downloader), item) == parsed(StockTikTokIE(downloader), item)


def test_facts_belong_to_one_extractor(downloader: Any) -> None:
    first, second = TikTokIE(downloader), TikTokIE(downloader)
    first.facts["a"] = "b"
    assert second.facts == {}


def test_is_found_by_its_dotted_name() -> None:
    assert load_extractor(EXTRACTOR) is TikTokIE
