from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engine.extractors import load_extractor
from agents.platforms.tiktok.listings import EXTRACTORS, read_listing
from agents.platforms.tiktok.urls import read_url
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListedPost, Listing, ListingRef
from schemas.video import VideoRef

PROFILE = ListingRef(
    platform="tiktok", kind="profile", id="name", url="https://www.tiktok.com/@name"
)
ID = 7608826249200356630


def entry(number: int, **fields: Any) -> dict[str, Any]:
    url = f"https://www.tiktok.com/@name/video/{ID + number}"
    return {"_type": "url", "ie_key": "TikTok", "url": url, "id": str(ID + number), **fields}


def read_entries(*entries: object, limit: int = 100, **more: Any) -> Listing:
    fields = {"_type": "playlist", "entries": list(entries), "clipmill_complete": True, **more}
    return read_listing(fields, PROFILE, limit)


def ids(listing: Listing) -> list[int]:
    return [int(post.id) - ID for post in listing.entries]


def test_profile_listing_is_read() -> None:
    first = entry(0, title="a clip\n #fyp", timestamp=1_700_000_000, description="x" * 1_000)
    found = read_entries(first, entry(1), title="name", id="MS4wLjABAAAA")
    assert found == Listing(
        platform="tiktok",
        kind="profile",
        id="name",
        url="https://www.tiktok.com/@name",
        title="name",
        entries=(
            ListedPost(
                id=str(ID),
                url=f"https://www.tiktok.com/@name/video/{ID}",
                title="a clip\n #fyp",
                published_at=datetime.fromtimestamp(1_700_000_000, UTC),
            ),
            ListedPost(id=str(ID + 1), url=f"https://www.tiktok.com/@name/video/{ID + 1}"),
        ),
    )


def test_empty_list_is_an_empty_listing() -> None:
    assert read_entries() == Listing(
        platform="tiktok", kind="profile", id="name", url="https://www.tiktok.com/@name"
    )


def test_duplicate_post_is_listed_once_at_its_first_position() -> None:
    again = [entry(2), entry(1), entry(2, title="again"), entry(3), entry(1)]
    assert ids(read_entries(*again)) == [2, 1, 3]
    assert read_entries(*again).entries[0].title is None


@pytest.mark.parametrize(
    ("limit", "reported_complete", "complete"),
    [(2, True, False), (3, True, True), (4, True, True), (3, False, False), (3, "yes", False)],
)
def test_listing_is_truncated_to_the_limit(
    limit: int, reported_complete: object, complete: bool
) -> None:
    found = read_entries(
        entry(0), entry(1), entry(2), limit=limit, clipmill_complete=reported_complete
    )
    assert ids(found) == [0, 1, 2][:limit]
    assert found.complete is complete


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "https://evil.example/@name/video/7608826249200356630",
        "http://www.tiktok.com/@name/video/7608826249200356630",
        "https://www.tiktok.com/@name",
        "https://www.tiktok.com/@name/collection/cats-7608826249200356630",
        "https://vm.tiktok.com/ZMabc/",
        "https://www.tiktok.com/@name/video/0",
        "https://www.tiktok.com@127.0.0.1/@name/video/7608826249200356630",
    ],
)
def test_entry_without_a_post_url_is_dropped(url: object) -> None:
    assert ids(read_entries(entry(0), entry(1, url=url), entry(2))) == [0, 2]


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        (f"https://www.tiktok.com/@_/video/{ID}?x=1#y", f"https://www.tiktok.com/@_/video/{ID}"),
        (f"https://m.tiktok.com/@../photo/{ID}/", f"https://www.tiktok.com/@_/video/{ID}"),
    ],
)
def test_post_urls_are_canonicalized(url: str, canonical: str) -> None:
    (post,) = read_entries(entry(0, url=url, id="something else")).entries
    assert (post.id, post.url) == (str(ID), canonical)


def test_list_without_any_post_is_an_error() -> None:
    with pytest.raises(ClipmillError, match="TikTok profile name: its list has no post") as caught:
        read_entries({"url": "https://www.tiktok.com/@name"}, {})
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED


@pytest.mark.parametrize(
    "fields", [{}, {"_type": "url"}, {"_type": "video", "entries": [entry(0)]}]
)
def test_result_that_is_no_list_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ClipmillError, match="not a list of posts") as caught:
        read_listing(fields, PROFILE, 10)
    assert caught.value.code is ErrorCode.PLATFORM_CHANGED


@pytest.mark.parametrize(
    ("raw", "title"),
    [
        ("name", "name"),
        ("name-%F0%9F%90%88", "name-\U0001f408"),
        ("name-%E2%80%AEx%00", "name-x"),
        ("x" * 500, "x" * 200),
        (None, None),
        (7, None),
        ("", None),
    ],
)
def test_title_is_decoded_and_bounded(raw: object, title: str | None) -> None:
    assert read_entries(entry(0), title=raw).title == title


@pytest.mark.parametrize("kind", EXTRACTORS)
def test_extractors_accept_canonical_urls(kind: str) -> None:
    path = {"profile": "", "collection": f"/collection/cats-{ID}"}[kind]
    found = read_url(f"https://www.tiktok.com/@name{path}")
    assert isinstance(found, ListingRef)
    assert load_extractor(EXTRACTORS[found.kind]).suitable(found.url)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=4,
)
ENTRIES = st.lists(
    st.builds(
        lambda number, more: entry(number) | more,
        st.integers(0, 5),
        st.dictionaries(st.sampled_from(["url", "title", "timestamp", "id"]), JUNK, max_size=2),
    )
    | JUNK,
    max_size=8,
)


@given(ENTRIES, st.integers(1, 5), JUNK)
def test_any_listing_round_trips_through_json(
    entries: list[Any], limit: int, title: object
) -> None:
    found = read_entries(entry(9), *entries, limit=limit, title=title)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Listing) == found
    assert len({post.id for post in found.entries}) == len(found.entries) <= limit
    for post in found.entries:
        assert read_url(post.url) == VideoRef(platform="tiktok", id=post.id, url=post.url)
