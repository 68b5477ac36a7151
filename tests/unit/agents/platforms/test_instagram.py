import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.instagram import Instagram
from agents.platforms.interface import ShortLink
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

POST = VideoRef(platform="instagram", id="DAbc_-12", url="https://www.instagram.com/p/DAbc_-12")


def test_canonical_url_is_accepted_by_the_extractor() -> None:
    found = load_extractor(Instagram.capabilities.extractors[0])
    assert found.__base__.__module__ == "yt_dlp.extractor.instagram"
    assert found.suitable(POST.url)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.instagram.com/p/DAbc_-12/",
        "https://www.instagram.com/reel/DAbc_-12/?igsh=1",
        "http://instagram.com/reels/DAbc_-12",
        "https://www.instagram.com/tv/DAbc_-12/",
        "https://www.instagram.com/some.one/reel/DAbc_-12/",
        "https://instagr.am/p/DAbc_-12",
    ],
)
def test_links_of_a_post_are_one_video(url: str) -> None:
    assert Instagram().parse_url(url) == POST


@pytest.mark.parametrize("path", ["share/reel/BAabc12", "share/p/BAabc12/", "share/BAabc12"])
def test_share_link_is_resolved_first(path: str) -> None:
    expected = ShortLink(url=f"https://www.instagram.com/{path.rstrip('/')}/")
    assert Instagram().parse_url(f"https://instagram.com/{path}?x=1") == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://www.instagram.com/",
        "https://www.instagram.com/someone/",
        "https://www.instagram.com/stories/someone/1234567890/",
        "https://www.instagram.com/reels/audio/1234567890/",
        "https://scontent.cdninstagram.com/p/DAbc_-12",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        Instagram().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
