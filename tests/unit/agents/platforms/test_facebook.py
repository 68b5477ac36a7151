import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.facebook import Facebook
from agents.platforms.interface import ShortLink
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

ID = "1195289147628387"
VIDEO = VideoRef(platform="facebook", id=ID, url=f"https://www.facebook.com/watch/?v={ID}")


def test_canonical_url_is_accepted_by_the_extractor() -> None:
    found = load_extractor(Facebook.capabilities.extractors[0])
    assert found.__module__ == "yt_dlp.extractor.facebook"
    assert found.suitable(VIDEO.url)


@pytest.mark.parametrize(
    "url",
    [
        f"https://www.facebook.com/reel/{ID}",
        f"https://m.facebook.com/reel/{ID}/?s=yWDuG2&fs=e",
        f"https://www.facebook.com/watch/?v={ID}",
        f"https://facebook.com/watch?ref=saved&v={ID}",
        f"https://www.facebook.com/some.page/videos/{ID}/",
        f"https://www.facebook.com/some.page/videos/a-title/{ID}",
        f"https://www.facebook.com/video.php?v={ID}",
        f"https://www.facebook.com/video/embed?video_id={ID}",
    ],
)
def test_links_of_a_video_are_one_video(url: str) -> None:
    assert Facebook().parse_url(url) == VIDEO


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("https://fb.watch/aBc-12_/?x=1", "https://fb.watch/aBc-12_/"),
        ("https://facebook.com/share/r/1AbC", "https://www.facebook.com/share/r/1AbC/"),
        ("https://www.facebook.com/share/v/1AbC/", "https://www.facebook.com/share/v/1AbC/"),
    ],
)
def test_short_link_is_resolved_first(url: str, requested: str) -> None:
    assert Facebook().parse_url(url) == ShortLink(url=requested)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.facebook.com/",
        "https://www.facebook.com/watch/",
        "https://www.facebook.com/watch/?v=x",
        f"https://www.facebook.com/some.page/posts/{ID}",
        f"https://www.facebook.com/login/?v={ID}",
        f"https://fb.watch/a/b?v={ID}",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        Facebook().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
