import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yt_dlp.extractor.tiktok import TikTokIE, TikTokVMIE

from agents.platforms.interface import ShortLink
from agents.platforms.tiktok.urls import (
    FORMS,
    HOSTS,
    PAGE_HOSTS,
    SUPPORTED,
    Form,
    canonical_url,
    profile_url,
    read_url,
)
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef
from tests.unit.platforms.hostile_urls import HOSTILE_URLS, Hostile

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
    f"https://www.tiktok.com/@n%61me/video/{ID}": NAMELESS,
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
}

REFUSED = {
    f"https://www.tiktok.com/@name/photo/{ID}": "a photo post",
    f"https://m.tiktok.com/@name/photo/{ID}?x=1": "a photo post",
    f"https://www.tiktok.com/photo/{ID}": "a photo post",
    f"https://www.tiktok.com/@name/story/{ID}": "a story",
    "https://www.tiktok.com/@name/live": "a live stream",
    "https://www.tiktok.com/@name/live/": "a live stream",
    "https://www.tiktok.com/live": "a live stream",
    f"https://m.tiktok.com/share/live/{ID}": "a live stream",
    f"https://www.tiktok.com/@name/collection/cats-{ID}": "a collection",
    f"https://www.tiktok.com/@name/playlist/cats-{ID}": "a playlist",
    "https://www.tiktok.com/@name": "a profile",
    "https://www.tiktok.com/@name/": "a profile",
    "https://tiktok.com/@name?lang=en": "a profile",
    "https://www.tiktok.com/music/original-sound-760882": "a music page",
    "https://www.tiktok.com/sticker/hat-760882": "an effect page",
    "https://www.tiktok.com/tag/cats": "a tag page",
    "https://www.tiktok.com/tag/%E7%8C%AB": "a tag page",
    "https://www.tiktok.com/": "the home page",
    "https://www.tiktok.com": "the home page",
    "https://vm.tiktok.com/": "the home page",
    "https://www.tiktok.com/foryou": "not a page of a single video",
    "https://www.tiktok.com/search?q=cats": "not a page of a single video",
    "https://example.com/x": "example.com is not a TikTok host",
}


@pytest.mark.parametrize(("url", "canonical"), VIDEOS.items(), ids=VIDEOS.keys())
def test_video(url: str, canonical: str) -> None:
    video = read_url(url)
    assert video == VideoRef(platform="tiktok", id=ID, url=canonical)
    assert read_url(canonical) == video


@pytest.mark.parametrize(("url", "normal"), SHORT_LINKS.items(), ids=SHORT_LINKS.keys())
def test_short_link(url: str, normal: str) -> None:
    assert read_url(url) == ShortLink(url=normal)
    assert read_url(normal) == ShortLink(url=normal)


@pytest.mark.parametrize(("url", "what"), REFUSED.items(), ids=REFUSED.keys())
def test_other_pages_are_refused_with_what_is_supported(url: str, what: str) -> None:
    with pytest.raises(ClipmillError, match=re.escape(what)) as caught:
        read_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
    assert SUPPORTED in caught.value.message
    assert what in caught.value.details["reason"]


@pytest.mark.parametrize("hostile", HOSTILE_URLS, ids=lambda hostile: hostile.name)
def test_hostile(hostile: Hostile) -> None:
    with pytest.raises(ClipmillError) as caught:
        read_url(hostile.url)
    assert caught.value.code is hostile.code
    assert len(caught.value.message) < 600


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.example)
def test_every_form_is_what_its_example_says(form: Form) -> None:
    found = outcome(form.example)
    kinds = {"video": VideoRef, "short": ShortLink, "refused": ClipmillError}
    assert type(found) is kinds[form.kind]
    assert not isinstance(found, ClipmillError) or form.what in found.message


@pytest.mark.parametrize("video_id", ["1", "18446744073709551615", "6748451240264420610"])
def test_ids_of_64_bits(video_id: str) -> None:
    found = read_url(f"https://www.tiktok.com/@name/video/{video_id}")
    assert isinstance(found, VideoRef)
    assert found.key == f"tiktok:{video_id}"


@pytest.mark.parametrize("url", VIDEOS.values())
def test_yt_dlp_understands_canonical_urls(url: str) -> None:
    assert TikTokIE.suitable(url)
    assert TikTokIE.get_temp_id(url) == ID


def test_yt_dlp_understands_normalised_short_links() -> None:
    normal = [url for url in SHORT_LINKS.values() if "lite." not in url]
    assert all(TikTokVMIE.suitable(url) for url in normal)


@pytest.mark.parametrize(
    ("user", "page"),
    [
        ("name", "https://www.tiktok.com/@name"),
        ("MS4wLjABAAAA-x_y", "https://www.tiktok.com/@MS4wLjABAAAA-x_y"),
        (None, None),
        ("", None),
        ("..", None),
        ("a/b", None),
        ("caf\u00e9", None),
        ("name\n", None),
    ],
)
def test_profile_url(user: str | None, page: str | None) -> None:
    assert profile_url(user) == page


@given(st.text(max_size=120))
def test_the_canonical_url_of_any_user_is_canonical(user: str) -> None:
    url = canonical_url(ID, user)
    assert read_url(url) == VideoRef(platform="tiktok", id=ID, url=url)


CODES = {
    ErrorCode.REQUEST_INVALID,
    ErrorCode.REQUEST_TOO_LARGE,
    ErrorCode.CONTENT_UNSUPPORTED,
}


def outcome(url: str) -> VideoRef | ShortLink | ClipmillError:
    try:
        return read_url(url)
    except ClipmillError as error:
        return error


def assert_canonical(url: str) -> None:
    found = outcome(url)
    if isinstance(found, VideoRef):
        assert re.fullmatch(r"https://www\.tiktok\.com/@[\w.-]+/video/[1-9][0-9]{0,19}", found.url)
        assert found.url.endswith(f"/video/{found.id}")
    if isinstance(found, ShortLink):
        assert re.fullmatch(
            r"https://(v[mt]\.tiktok\.com|(www|m|us|lite)\.tiktokv?\.com/t)/[\w-]{1,64}/",
            found.url,
            re.ASCII,
        )
    if isinstance(found, ClipmillError):
        assert found.code in CODES
    else:
        assert outcome(found.url) == found


@given(st.text(max_size=200))
def test_any_text(text: str) -> None:
    assert_canonical(text)


@given(
    st.sampled_from([*VIDEOS, *SHORT_LINKS, *REFUSED]),
    st.integers(0, 120),
    st.integers(0, 5),
    st.text(max_size=5),
)
def test_mutated_links(url: str, place: int, cut: int, put: str) -> None:
    assert_canonical(url[:place] + put + url[place + cut :])


@given(
    st.sampled_from(["", "https://", "http://", "//", "HTTPS://"]),
    st.sampled_from([*HOSTS, "evil.example", "www.tiktok.com.evil.example"]),
    st.lists(st.text(string.ascii_letters + string.digits + "@._-%/~é", max_size=22), max_size=5),
)
def test_made_up_paths(scheme: str, host: str, folders: list[str]) -> None:
    assert_canonical(f"{scheme}{host}/{'/'.join(folders)}")


@given(st.sampled_from(PAGE_HOSTS), st.integers(-5, 2**66))
def test_any_number_as_id(host: str, number: int) -> None:
    found = outcome(f"https://{host}/@name/video/{number}")
    assert isinstance(found, VideoRef) == (1 <= number < 2**64)
