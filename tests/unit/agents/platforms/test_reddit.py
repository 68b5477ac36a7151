import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.interface import ShortLink
from agents.platforms.reddit import Reddit
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

POST = VideoRef(platform="reddit", id="6rrwyj", url="https://www.reddit.com/comments/6rrwyj")


def test_canonical_url_is_accepted_by_the_extractor() -> None:
    assert load_extractor(Reddit.capabilities.extractors[0]).suitable(POST.url)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.reddit.com/r/videos/comments/6rrwyj/that_small_heart_attack/",
        "https://old.reddit.com/r/videos/comments/6rrwyj",
        "http://reddit.com/comments/6rrwyj/?utm_source=share",
        "https://www.reddit.com/r/videos/comments/6rrwyj/that_small_heart_attack/dl7abcd/",
        "https://www.reddit.com/user/some-one/comments/6rrwyj/a_title/",
        "https://redd.it/6rrwyj",
    ],
)
def test_links_of_a_post_are_one_video(url: str) -> None:
    assert Reddit().parse_url(url) == POST


@pytest.mark.parametrize(
    ("url", "requested"),
    [
        ("http://v.redd.it/zv89llsvexdz/", "https://v.redd.it/zv89llsvexdz"),
        ("https://www.reddit.com/video/zv89llsvexdz", "https://www.reddit.com/video/zv89llsvexdz"),
        ("https://reddit.com/r/videos/s/AbC123/?x=1", "https://www.reddit.com/r/videos/s/AbC123"),
    ],
)
def test_short_link_is_resolved_first(url: str, requested: str) -> None:
    assert Reddit().parse_url(url) == ShortLink(url=requested)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.reddit.com/",
        "https://www.reddit.com/r/videos/",
        "https://www.reddit.com/gallery/6rrwyj",
        "https://www.reddit.com/user/someone",
        "https://v.redd.it/zv89llsvexdz/DASH_720.mp4",
        "https://i.redd.it/zv89llsvexdz.jpg",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        Reddit().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
