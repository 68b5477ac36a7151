import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.bluesky import Bluesky
from schemas.errors import ClipmillError, ErrorCode

URL = "https://bsky.app/profile/some.bsky.social/post/3l4omssdl632g"


def test_canonical_urls_are_accepted_by_the_extractor() -> None:
    found = load_extractor(Bluesky.capabilities.extractors[0])
    assert found.__module__ == "yt_dlp.extractor.bluesky"
    assert found.suitable(Bluesky().parse_url(URL).url)


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"{URL}/",
        f"{URL}?utm_source=x",
        f"http://www.{URL.removeprefix('https://')}",
        URL.replace("some", "SOME"),
    ],
)
def test_spellings_of_a_post_are_one_video(url: str) -> None:
    assert Bluesky().parse_url(url) == Bluesky().parse_url(URL)


def test_posts_of_two_accounts_are_two_videos() -> None:
    other = Bluesky().parse_url(URL.replace("some.", "other."))
    assert other.id != Bluesky().parse_url(URL).id
    assert other.id.startswith("3l4omssdl632g-")


@pytest.mark.parametrize(
    "url",
    [
        "https://bsky.app/",
        "https://bsky.app/profile/some.bsky.social",
        "https://bsky.app/profile/some.bsky.social/post/",
        "https://bsky.app/profile/../post/1",
        "https://example.com/profile/some.bsky.social/post/1",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        Bluesky().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
