import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.extractor.tiktok import TikTokCollectionIE, TikTokIE, TikTokUserIE, TikTokVMIE

from agents.platforms.interface import ShortLink, Target
from agents.platforms.tiktok.handler import TikTok
from agents.platforms.tiktok.link_forms import FORMS, HOSTS, PAGE_HOSTS, Form
from agents.platforms.tiktok.urls import (
    LINKS,
    canonical_url,
    profile_url,
    read_url,
)
from schemas.errors import ClipmillError, ErrorCode
from schemas.listing import ListingRef
from schemas.video import VideoRef
from tests.unit.agents.platforms.hostile_urls import HOSTILE_URLS, Hostile

ID = "7608826249200356630"
NAMED = f"https://www.tiktok.com/@name/video/{ID}"
NAMELESS = f"https://www.tiktok.com/@_/video/{ID}"

VIDEOS = {
    f"https://www.tiktok.com/@name/video/{ID}": NAMED,
    f"http://www.tiktok.com/@name/video/{ID}": NAMED,
    f"https://tiktok.com/@name/video/{ID}": NAMED,
    f"https://m.tiktok.com/@name/video/{ID}": NAMED,
    f"https://us.tiktok.com/@name/video/{ID}": NAMED,
    f"https://lite.tiktok.com/@name/video/{ID}": NAMED,
    f"www.tiktok.com/@name/video/{ID}": NAMED,
    f"tiktok.com/@name/video/{ID}": NAMED,
    f"https://www.tiktok.com:443/@name/video/{ID}": NAMED,
    f"https://www.tiktok.com/@name/video/{ID}/": NAMED,
    f"https://www.tiktok.com/@name/video/{ID}?is_from_webapp=1&sender_device=pc": NAMED,
    f"https://www.tiktok.com/@name/video/{ID}?q=caf\u00e9#comments": NAMED,
    f"  https://www.tiktok.com/@name/video/{ID}  ": NAMED,
    f"https://WWW.TIKTOK.COM/@name/video/{ID}": NAMED,
    f"https://www.tiktok.com/@a.b_c-9/video/{ID}": f"https://www.tiktok.com/@a.b_c-9/video/{ID}",
    f"https://www.tiktok.com/@/video/{ID}": NAMELESS,
    f"https://www.tiktok.com/@_/video/{ID}": NAMELESS,
    f"https://www.tiktok.com/@../video/{ID}": NAMELESS,
    f"https://www.tiktok.com/@n%61me/video/{ID}": NAMED,
    f"https://www.tiktok.com/@name./video/{ID}": NAMELESS,
    f"https://www.tiktok.com/@caf\u00e9/video/{ID}": NAMELESS,
    f"https://www.tiktok.com/@{'a' * 101}/video/{ID}": NAMELESS,
    f"https://www.tiktok.com/video/{ID}": NAMELESS,
    f"https://www.tiktok.com/share/video/{ID}": NAMELESS,
    f"https://www.tiktokv.com/share/video/{ID}/": NAMELESS,
    f"https://www.tiktok.com/embed/{ID}": NAMELESS,
    f"https://www.tiktok.com/embed/v2/{ID}": NAMELESS,
    f"https://www.tiktok.com/player/v1/{ID}?loop=1": NAMELESS,
    f"https://m.tiktok.com/v/{ID}.html": NAMELESS,
    f"https://m.tiktok.com/v/{ID}.html?u_code=abc": NAMELESS,
    f"https://m.tiktok.com/v/{ID}": NAMELESS,
    f"https://www.tiktok.com/@name/photo/{ID}": NAMED,
    f"https://tiktok.com/@name/photo/{ID}/": NAMED,
    f"https://m.tiktok.com/@name/photo/{ID}?x=1": NAMED,
    f"https://www.tiktok.com/photo/{ID}": NAMELESS,
    f"https://tiktokv.com/share/video/{ID}": NAMELESS,
    f"https://www.tiktokv.com/share/photo/{ID}/?x=1": NAMELESS,
}

STORIES = {
    f"https://www.tiktok.com/@name/story/{ID}": f"https://www.tiktok.com/@name/story/{ID}",
    f"https://m.tiktok.com/@name/story/{ID}/?x=1": f"https://www.tiktok.com/@name/story/{ID}",
    f"https://www.tiktok.com/@/story/{ID}": f"https://www.tiktok.com/@_/story/{ID}",
}

PROFILES = {
    "https://www.tiktok.com/@name": "name",
    "https://www.tiktok.com/@name/": "name",
    "https://tiktok.com/@name?lang=en": "name",
    "m.tiktok.com/@a.b_c-9": "a.b_c-9",
    "https://lite.tiktok.com/@6820838815978423302": "6820838815978423302",
    f"https://www.tiktok.com/@MS4wLjABAAAA{'x' * 64}": f"MS4wLjABAAAA{'x' * 64}",
}

COLLECTIONS = {
    f"https://www.tiktok.com/@name/collection/cats-{ID}": ("name", "cats"),
    f"https://m.tiktok.com/@name/collection/cats-and-2-dogs-{ID}/?lang=en": (
        "name",
        "cats-and-2-dogs",
    ),
    f"https://www.tiktok.com/@name/collection/%F0%9F%98%82-{ID}": ("name", "%F0%9F%98%82"),
    f"https://www.tiktok.com/@name/collection/caf\u00e9-{ID}": ("name", "collection"),
    f"https://www.tiktok.com/@name/collection/{ID}": ("name", "collection"),
    f"https://www.tiktok.com/@name/collection/-{ID}": ("name", "collection"),
    f"https://www.tiktok.com/@caf\u00e9/collection/cats-{ID}": ("_", "cats"),
}

SHORT_LINKS = {
    "https://vm.tiktok.com/ZMabc123/": "https://vm.tiktok.com/ZMabc123/",
    "https://vm.tiktok.com/ZMabc123": "https://vm.tiktok.com/ZMabc123/",
    "http://vm.tiktok.com/ZMabc123": "https://vm.tiktok.com/ZMabc123/",
    "vm.tiktok.com/ZMabc123": "https://vm.tiktok.com/ZMabc123/",
    "https://vt.tiktok.com/ZSabc-_9/?x=1": "https://vt.tiktok.com/ZSabc-_9/",
    "https://www.tiktok.com/t/ZTabc/": "https://www.tiktok.com/t/ZTabc/",
    "https://tiktok.com/t/ZTabc": "https://www.tiktok.com/t/ZTabc/",
    "https://lite.tiktok.com/t/ZTabc/": "https://lite.tiktok.com/t/ZTabc/",
    "https://tiktok.com/share/user/1?x=1": "https://www.tiktok.com/share/user/1/",
    "https://m.tiktok.com/h5/share/usr/1.html": "https://m.tiktok.com/h5/share/usr/1.html",
}

REFUSED = {
    "https://www.tiktok.com/@name/live": "live streams are not recorded",
    "https://www.tiktok.com/@name/live/": "a live stream",
    "https://www.tiktok.com/live": "a live stream",
    f"https://m.tiktok.com/share/live/{ID}": "a live stream",
    f"https://www.tiktok.com/@name/playlist/cats-{ID}": "yt-dlp has no extractor for",
    "https://www.tiktok.com/@name/collection/cats": "not a page of a post",
    "https://www.tiktok.com/music/original-sound-760882": "a music page",
    "https://www.tiktok.com/sticker/hat-760882": "an effect page",
    "https://www.tiktok.com/tag/cats": "a tag page",
    "https://www.tiktok.com/tag/%E7%8C%AB": "a tag page",
    "https://www.tiktok.com/": "the home page",
    "https://www.tiktok.com": "the home page",
    "https://vm.tiktok.com/": "the home page",
    "https://www.tiktok.com/foryou": "its address names none of them",
    f"https://www.tiktok.com/foryou?item_id={ID}&share_item_id=1": "name several posts",
    "https://www.tiktok.com/tiktoklite": "the page of an app",
    "https://www.tiktok.com/search?q=cats": "not a page of a post",
    "https://example.com/x": "example.com is not a TikTok host",
}


@pytest.mark.parametrize(("url", "canonical"), VIDEOS.items(), ids=VIDEOS.keys())
def test_video_url_is_canonicalized(url: str, canonical: str) -> None:
    video = read_url(url)
    assert video == VideoRef(platform="tiktok", id=ID, url=canonical)
    assert read_url(canonical) == video


@pytest.mark.parametrize(("url", "canonical"), STORIES.items(), ids=STORIES.keys())
def test_story_url_is_canonicalized(url: str, canonical: str) -> None:
    story = read_url(url)
    assert story == VideoRef(platform="tiktok", id=ID, url=canonical)
    assert "/story/" in story.url
    assert read_url(canonical) == story


@pytest.mark.parametrize("url", [*VIDEOS, *STORIES])
def test_page_url_is_supported_by_yt_dlp(url: str) -> None:
    video = read_url(url)
    assert isinstance(video, VideoRef)
    assert TikTokIE.suitable(TikTok().page_url(video))
    assert TikTokIE.get_temp_id(TikTok().page_url(video)) == ID
    assert ("/story/" in video.url) == (url in STORIES)


@pytest.mark.parametrize(("url", "name"), PROFILES.items(), ids=PROFILES.keys())
def test_profile_url_is_canonicalized(url: str, name: str) -> None:
    page = f"https://www.tiktok.com/@{name}"
    profile = read_url(url)
    assert profile == ListingRef(platform="tiktok", kind="profile", id=name, url=page)
    assert profile.key == f"tiktok:profile/{name}"
    assert read_url(page) == profile
    assert TikTokUserIE.suitable(page)


@pytest.mark.parametrize(("url", "parts"), COLLECTIONS.items(), ids=COLLECTIONS.keys())
def test_collection_url_is_canonicalized(url: str, parts: tuple[str, str]) -> None:
    page = f"https://www.tiktok.com/@{parts[0]}/collection/{parts[1]}-{ID}"
    collection = read_url(url)
    assert collection == ListingRef(platform="tiktok", kind="collection", id=ID, url=page)
    assert read_url(page) == collection
    assert TikTokCollectionIE.suitable(page)
    assert TikTokCollectionIE.get_temp_id(page) == ID


@pytest.mark.parametrize("user", ["", "_", "..", "caf\u00e9", "n%2561me", "a" * 101, "a@b", "a."])
def test_profile_of_an_invalid_user_is_rejected(user: str) -> None:
    with pytest.raises(ClipmillError, match="user name is not valid on TikTok") as caught:
        read_url(f"https://www.tiktok.com/@{user}")
    assert caught.value.code is ErrorCode.REQUEST_INVALID


@pytest.mark.parametrize("number", ["0", "007", str(2**64), "9" * 500])
@pytest.mark.parametrize("form", ["video/", "photo/", "story/", "collection/cats-"])
def test_invalid_id_is_rejected(form: str, number: str) -> None:
    with pytest.raises(ClipmillError, match="its id is not a number") as caught:
        read_url(f"https://www.tiktok.com/@name/{form}{number}")
    assert caught.value.code is ErrorCode.REQUEST_INVALID


def test_account_name_without_a_link_is_rejected() -> None:
    with pytest.raises(ClipmillError, match="neither https nor http") as caught:
        read_url(f"tiktokuser:MS4wLjABAAAA{'x' * 64}")
    assert caught.value.code is ErrorCode.REQUEST_INVALID


@pytest.mark.parametrize(("url", "normal"), SHORT_LINKS.items(), ids=SHORT_LINKS.keys())
def test_short_link_is_normalized(url: str, normal: str) -> None:
    assert read_url(url) == ShortLink(url=normal)
    assert read_url(normal) == ShortLink(url=normal)


@pytest.mark.parametrize(("url", "reason"), REFUSED.items(), ids=REFUSED.keys())
def test_unsupported_page_is_rejected_with_the_supported_forms(url: str, reason: str) -> None:
    with pytest.raises(ClipmillError, match=re.escape(reason)) as caught:
        read_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert LINKS.supported in caught.value.message
    assert reason in caught.value.details["reason"]


@pytest.mark.parametrize("hostile", HOSTILE_URLS, ids=lambda hostile: hostile.name)
def test_hostile_link_is_rejected(hostile: Hostile) -> None:
    with pytest.raises(ClipmillError) as caught:
        read_url(hostile.url)
    assert caught.value.code is hostile.code
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.example)
def test_every_form_matches_its_example(form: Form) -> None:
    found = outcome(form.example)
    kinds = {
        **dict.fromkeys(("post", "story", "query"), VideoRef),
        **dict.fromkeys(("profile", "collection"), ListingRef),
        **dict.fromkeys(("short", "shared"), ShortLink),
        "refused": ClipmillError,
    }
    assert type(found) is kinds[form.kind]
    assert not isinstance(found, ClipmillError) or form.what in found.message


@pytest.mark.parametrize("video_id", ["1", "18446744073709551615", "6748451240264420610"])
def test_ids_up_to_64_bits_are_accepted(video_id: str) -> None:
    found = read_url(f"https://www.tiktok.com/@name/video/{video_id}")
    assert isinstance(found, VideoRef)
    assert found.key == f"tiktok:{video_id}"


@pytest.mark.parametrize("url", VIDEOS.values())
def test_yt_dlp_supports_canonical_urls(url: str) -> None:
    assert TikTokIE.suitable(url)
    assert TikTokIE.get_temp_id(url) == ID


def test_yt_dlp_supports_normalized_short_links() -> None:
    normal = [url for url in SHORT_LINKS.values() if "lite." not in url and "share" not in url]
    assert all(TikTokVMIE.suitable(url) for url in normal)


@pytest.mark.parametrize(
    ("user", "page"),
    [
        ("name", "https://www.tiktok.com/@name"),
        ("MS4wLjABAAAA-x_y", "https://www.tiktok.com/@MS4wLjABAAAA-x_y"),
        (None, None),
        ("_", None),
        ("", None),
        ("..", None),
        ("a/b", None),
        ("caf\u00e9", None),
        ("name\n", None),
    ],
)
def test_profile_url_of_a_user(user: str | None, page: str | None) -> None:
    assert profile_url(user) == page


@given(st.text(max_size=120))
def test_canonical_url_of_any_user_is_read_unchanged(user: str) -> None:
    url = canonical_url(ID, user)
    assert read_url(url) == VideoRef(platform="tiktok", id=ID, url=url)


CODES = {
    ErrorCode.REQUEST_INVALID,
    ErrorCode.REQUEST_TOO_LARGE,
    ErrorCode.CONTENT_UNSUPPORTED,
}


def outcome(url: str) -> Target | ShortLink | ClipmillError:
    try:
        return read_url(url)
    except ClipmillError as error:
        return error


def assert_canonical(url: str) -> None:
    found = outcome(url)
    if isinstance(found, VideoRef):
        page = r"https://www\.tiktok\.com/@[\w.-]+/(video|story)/[1-9][0-9]{0,19}"
        assert re.fullmatch(page, found.url, re.ASCII)
        assert found.url.endswith(f"/{found.id}")
    if isinstance(found, ListingRef):
        page = r"https://www\.tiktok\.com/@[\w.-]+(/collection/[\w%.~-]+-[1-9][0-9]{0,19})?"
        assert re.fullmatch(page, found.url, re.ASCII)
        assert found.url.endswith(found.id)
    if isinstance(found, ShortLink):
        assert re.fullmatch(
            r"https://(v[mt]\.tiktok\.com|(www|m|us|lite|t)\.tiktokv?\.com/t)/[\w-]{1,64}/"
            r"|https://(www|m|us|lite|t)\.tiktokv?\.com(/i18n|/h5)?/share/(user|usr)/[0-9]+(/|\.html)",
            found.url,
            re.ASCII,
        )
    if isinstance(found, ClipmillError):
        assert found.code in CODES
    else:
        assert outcome(found.url) == found


@given(st.text(max_size=200))
def test_any_text_is_canonicalized_or_rejected(text: str) -> None:
    assert_canonical(text)


@given(
    st.sampled_from([*VIDEOS, *STORIES, *PROFILES, *COLLECTIONS, *SHORT_LINKS, *REFUSED]),
    st.integers(0, 120),
    st.integers(0, 5),
    st.text(max_size=5),
)
def test_mutated_links_are_canonicalized_or_rejected(
    url: str, position: int, removed: int, inserted: str
) -> None:
    assert_canonical(url[:position] + inserted + url[position + removed :])


@given(
    st.sampled_from(["", "https://", "http://", "//", "HTTPS://"]),
    st.sampled_from([*HOSTS, "evil.example", "www.tiktok.com.evil.example"]),
    st.lists(st.text(string.ascii_letters + string.digits + "@._-%/~é", max_size=22), max_size=5),
)
def test_random_paths_are_canonicalized_or_rejected(
    scheme: str, host: str, folders: list[str]
) -> None:
    assert_canonical(f"{scheme}{host}/{'/'.join(folders)}")


@given(st.sampled_from(PAGE_HOSTS), st.integers(-5, 2**66))
def test_number_is_an_id_within_64_bits(host: str, number: int) -> None:
    found = outcome(f"https://{host}/@name/video/{number}")
    assert isinstance(found, VideoRef) == (1 <= number < 2**64)
