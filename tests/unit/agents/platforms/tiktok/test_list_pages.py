"""List extractors with pages and responses of any form, without a request."""

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


class ExtractorHarness:
    """An extractor with canned pages and list responses.

    Attributes:
        detail: ``webapp.user-detail`` of the profile's page.
        responses: of the list, one for each request; the last one is repeated.
        embedded: user id of the embedded profile; None: it has none.
    """

    def __init__(self, extractor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.extractor = extractor
        self.detail: Any = {"userInfo": {"user": USER}}
        self.responses: list[Any] = [{"itemList": [], "hasMorePrevious": False}]
        self.embedded: str | None = None
        self.request_count = 0
        stock = StockTikTokUserIE if isinstance(extractor, TikTokUserIE) else None
        for kind in filter(None, (stock, StockTikTokCollectionIE)):
            monkeypatch.setattr(kind, "_download_json", self._respond, raising=False)
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

    def _respond(self, *_: Any, **__: Any) -> Any:
        self.request_count += 1
        return self.responses[min(self.request_count, len(self.responses)) - 1]


@pytest.fixture
def ydl() -> Iterator[YoutubeDL]:
    parameters = {"quiet": True, "no_warnings": True, "extractor_retries": 0, "cachedir": False}
    with YoutubeDL(parameters, auto_init=False) as made:
        yield made


@pytest.fixture
def profile(ydl: YoutubeDL, monkeypatch: pytest.MonkeyPatch) -> ExtractorHarness:
    return ExtractorHarness(TikTokUserIE(ydl), monkeypatch)


@pytest.fixture
def collection(ydl: YoutubeDL, monkeypatch: pytest.MonkeyPatch) -> ExtractorHarness:
    return ExtractorHarness(TikTokCollectionIE(ydl), monkeypatch)


def items(*numbers: int) -> list[dict[str, Any]]:
    return [{"id": str(each), "createTime": 1_700_000_000 - each} for each in numbers]


def test_posts_of_all_pages_of_a_profile_are_listed(profile: ExtractorHarness) -> None:
    profile.responses = [
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
def test_account_without_posts_needs_no_list_request(
    counts: dict[str, Any], profile: ExtractorHarness
) -> None:
    profile.detail = {"userInfo": {"user": USER, **counts}}
    assert profile.posts() == []
    assert profile.request_count == 0


@pytest.mark.parametrize("code", [10222, "10222", 10221, 1])
@pytest.mark.parametrize("info", [{}, None, [], {"stats": {"videoCount": 0}, "user": USER}])
def test_status_instead_of_a_profile_is_an_error(
    code: object, info: object, profile: ExtractorHarness
) -> None:
    profile.detail = {"statusCode": code, "statusMsg": "said", "userInfo": info}
    with pytest.raises(ExtractorError, match=f"Profile not available, status code {code}"):
        profile.posts()
    assert profile.extractor.facts == {"status_code": str(code), "status_message": "said"}
    assert profile.request_count == 0


@pytest.mark.parametrize("counts", [{"stats": {"videoCount": 7}}, {"statsV2": {"videoCount": "7"}}])
def test_private_account_with_a_post_count_is_listed(
    counts: dict[str, Any], profile: ExtractorHarness
) -> None:
    profile.detail = {"statusCode": 10222, "userInfo": {"user": USER, **counts}}
    profile.responses = [{"itemList": items(1), "hasMorePrevious": False}]
    assert profile.posts() == ["1"]


@pytest.mark.parametrize("user", [{}, None, {"secUid": ""}, {"secUid": None}, {"secUid": 7}])
def test_missing_user_id_is_read_from_the_embed(user: object, profile: ExtractorHarness) -> None:
    profile.detail = {"userInfo": {"user": user}}
    with pytest.raises(ExtractorError, match="Unable to extract secondary user ID"):
        profile.posts()
    profile.embedded = UID
    assert profile.posts() == []


def test_hidden_posts_are_an_error(profile: ExtractorHarness) -> None:
    profile.responses = [{"itemList": [], "hasMorePrevious": True}]
    with pytest.raises(ExtractorError, match="either private or all"):
        profile.posts()


@pytest.mark.parametrize("name", ["statusCode", "status_code"])
@pytest.mark.parametrize("code", [10222, "10222"])
def test_refused_list_is_an_error(
    name: str, code: object, profile: ExtractorHarness, collection: ExtractorHarness
) -> None:
    for harness, url in ((profile, URL), (collection, COLLECTION)):
        harness.responses = [{name: code}]
        with pytest.raises(ExtractorError, match="List not available, status code 10222"):
            harness.posts(url)
        assert harness.extractor.facts == {"status_code": "10222", "status_message": ""}


def test_status_beside_posts_is_ignored(collection: ExtractorHarness) -> None:
    collection.responses = [{"itemList": items(1), "statusCode": 7, "hasMore": False}]
    assert collection.posts(COLLECTION) == ["1"]


@pytest.mark.parametrize("answer", [None, [], "x", 7])
def test_list_that_is_no_object_is_an_error(answer: object, collection: ExtractorHarness) -> None:
    collection.responses = [answer]
    with pytest.raises(ExtractorError, match="The list is not an object"):
        collection.posts(COLLECTION)


@pytest.mark.parametrize("answer", [{}, {"statusCode": 0}, {"itemList": None}, {"itemList": []}])
def test_empty_collection_has_no_posts(
    answer: dict[str, Any], collection: ExtractorHarness
) -> None:
    collection.responses = [answer]
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
def test_any_page_and_list_give_posts_or_an_extractor_error(
    profile: ExtractorHarness, detail: object, answer: object
) -> None:
    profile.detail, profile.responses = detail, [answer]
    try:
        found = profile.posts()
    except ExtractorError:
        return
    assert all(isinstance(each, str) for each in found)
