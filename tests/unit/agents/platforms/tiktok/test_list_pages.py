"""What the extractors of lists make of pages and answers of any form, without a request."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yt_dlp import YoutubeDL
from yt_dlp.extractor.tiktok import TikTokCollectionIE as StockTikTokCollectionIE
from yt_dlp.extractor.tiktok import TikTokUserIE as StockTikTokUserIE
from yt_dlp.utils import ExtractorError

from agents.platforms.tiktok.list_pages import TikTokCollectionIE, TikTokUserIE
from tests.standin.accounts import sec_uid

URL = "https://www.tiktok.com/@anna"
UID = sec_uid("anna")
USER = {"secUid": UID}
COLLECTION = "https://www.tiktok.com/@anna/collection/cats-7608826249200356630"


class Desk:
    """An extractor whose pages and answers are given.

    Attributes:
        detail: ``webapp.user-detail`` of the profile's page.
        answers: of the list, one for each request; the last one again and again.
        embedded: what the embedded profile tells; None: nothing.
    """

    def __init__(self, extractor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extractor = extractor
        self.detail: Any = {"userInfo": {"user": USER}}
        self.answers: list[Any] = [{"itemList": [], "hasMorePrevious": False}]
        self.embedded: str | None = None
        self.asked = 0
        stock = StockTikTokUserIE if isinstance(extractor, TikTokUserIE) else None
        for kind in filter(None, (stock, StockTikTokCollectionIE)):
            monkeypatch.setattr(kind, "_download_json", self._answer, raising=False)
        monkeypatch.setattr(extractor, "_profile_page", self._page, raising=False)
        monkeypatch.setattr(
            extractor, "_extract_sec_uid_from_embed", lambda _: self.embedded, raising=False
        )

    def posts(self, url: str = URL) -> list[str]:
        found = self.extractor.extract(url)
        assert found["_type"] == "playlist"
        return [entry["id"] for entry in found["entries"]]

    def _page(self, _name: str) -> str:
        data = orjson.dumps({"__DEFAULT_SCOPE__": {"webapp.user-detail": self.detail}})
        start = '<script id="__UNIVERSAL_DATA_FOR_REHYDRATION__" type="application/json">'
        return f"<html>{start}{data.decode()}</script></html>"

    def _answer(self, *_: Any, **__: Any) -> Any:
        self.asked += 1
        return self.answers[min(self.asked, len(self.answers)) - 1]


@pytest.fixture
def ydl() -> Iterator[YoutubeDL]:
    parameters = {"quiet": True, "no_warnings": True, "extractor_retries": 0, "cachedir": False}
    with YoutubeDL(parameters, auto_init=False) as made:
        yield made


@pytest.fixture
def profile(ydl: YoutubeDL, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(TikTokUserIE(ydl), monkeypatch)


@pytest.fixture
def collection(ydl: YoutubeDL, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(TikTokCollectionIE(ydl), monkeypatch)


def items(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": str(each), "createTime": 1_700_000_000 - each} for each in numbers]


def test_posts_of_a_profile(profile: Desk) -> None:
    profile.answers = [
        {"itemList": items(1, 2), "hasMorePrevious": True, "statusCode": 0},
        {"itemList": items(3), "hasMorePrevious": False},
    ]
    assert profile.posts() == ["1", "2", "3"]
    assert profile.extractor.facts == {}


@pytest.mark.parametrize(
    "counts",
    [
        {"stats": {"videoCount": 0}},
        {"statsV2": {"videoCount": "0"}},
        {"stats": {"videoCount": 0}, "statsV2": {"videoCount": "7"}},
        {"stats": {}, "statsV2": {"videoCount": "0"}},
    ],
)
def test_an_account_without_posts_is_not_asked_for_a_list(
    counts: dict[str, Any], profile: Desk
) -> None:
    profile.detail = {"userInfo": {"user": USER, **counts}}
    assert profile.posts() == []
    assert profile.asked == 0


@pytest.mark.parametrize("code", [10222, "10222", 10221, 1])
@pytest.mark.parametrize("info", [{}, None, [], {"stats": {"videoCount": 0}, "user": USER}])
def test_a_status_instead_of_a_profile(code: object, info: object, profile: Desk) -> None:
    profile.detail = {"statusCode": code, "statusMsg": "said", "userInfo": info}
    with pytest.raises(ExtractorError, match=f"Profile not available, status code {code}"):
        profile.posts()
    assert profile.extractor.facts == {"status_code": str(code), "status_message": "said"}
    assert profile.asked == 0


@pytest.mark.parametrize("counts", [{"stats": {"videoCount": 7}}, {"statsV2": {"videoCount": "7"}}])
def test_a_private_account_that_shows_its_count_may_be_listed(
    counts: dict[str, Any], profile: Desk
) -> None:
    profile.detail = {"statusCode": 10222, "userInfo": {"user": USER, **counts}}
    profile.answers = [{"itemList": items(1), "hasMorePrevious": False}]
    assert profile.posts() == ["1"]


@pytest.mark.parametrize("user", [{}, None, {"secUid": ""}, {"secUid": None}, {"secUid": 7}])
def test_a_page_without_the_other_name(user: object, profile: Desk) -> None:
    profile.detail = {"userInfo": {"user": user}}
    with pytest.raises(ExtractorError, match="Unable to extract secondary user ID"):
        profile.posts()
    profile.embedded = UID
    assert profile.posts() == []


def test_posts_that_are_all_hidden(profile: Desk) -> None:
    profile.answers = [{"itemList": [], "hasMorePrevious": True}]
    with pytest.raises(ExtractorError, match="either private or all"):
        profile.posts()


@pytest.mark.parametrize("name", ["statusCode", "status_code"])
@pytest.mark.parametrize("code", [10222, "10222"])
def test_a_list_that_is_refused_is_not_empty(
    name: str, code: object, profile: Desk, collection: Desk
) -> None:
    for desk, url in ((profile, URL), (collection, COLLECTION)):
        desk.answers = [{name: code}]
        with pytest.raises(ExtractorError, match="List not available, status code 10222"):
            desk.posts(url)
        assert desk.extractor.facts == {"status_code": "10222", "status_message": ""}


def test_a_status_beside_posts_is_none(collection: Desk) -> None:
    collection.answers = [{"itemList": items(1), "statusCode": 7, "hasMore": False}]
    assert collection.posts(COLLECTION) == ["1"]


@pytest.mark.parametrize("answer", [None, [], "x", 7])
def test_a_list_that_is_no_object(answer: object, collection: Desk) -> None:
    collection.answers = [answer]
    with pytest.raises(ExtractorError, match="The list is no object"):
        collection.posts(COLLECTION)


@pytest.mark.parametrize("answer", [{}, {"statusCode": 0}, {"itemList": None}, {"itemList": []}])
def test_an_empty_collection(answer: dict[str, Any], collection: Desk) -> None:
    collection.answers = [answer]
    assert collection.posts(COLLECTION) == []


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 2**53) | st.text(max_size=8) | st.just(UID),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["userInfo", "user", "stats", "statsV2", "videoCount", "secUid"])
            | st.sampled_from(["statusCode", "statusMsg", "itemList", "id", "createTime"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(detail=JUNK, answer=JUNK)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_page_and_any_list(profile: Desk, detail: object, answer: object) -> None:
    profile.detail, profile.answers = detail, [answer]
    try:
        found = profile.posts()
    except ExtractorError:
        return
    assert all(isinstance(each, str) for each in found)
