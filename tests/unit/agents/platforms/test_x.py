import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.x import X
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

POST = VideoRef(
    platform="x", id="643211948184596480", url="https://x.com/i/status/643211948184596480"
)


def test_canonical_url_is_accepted_by_the_extractor() -> None:
    found = load_extractor(X.capabilities.extractors[0])
    assert found.__base__.__module__ == "yt_dlp.extractor.twitter"
    assert found.suitable(POST.url)


@pytest.mark.parametrize(
    "url",
    [
        "https://x.com/someone/status/643211948184596480",
        "https://twitter.com/someone/status/643211948184596480?s=20&t=x",
        "http://mobile.twitter.com/someone/status/643211948184596480/",
        "https://www.x.com/i/web/status/643211948184596480",
        "https://x.com/someone/status/643211948184596480/video/2",
        "https://twitter.com/statuses/643211948184596480",
    ],
)
def test_links_of_a_post_are_one_video(url: str) -> None:
    assert X().parse_url(url) == POST


@pytest.mark.parametrize(
    "url",
    [
        "https://x.com/",
        "https://x.com/someone",
        "https://x.com/someone/status/",
        "https://x.com/i/spaces/1vOGwyQpgzVKB",
        "https://x.com/i/broadcasts/1ypKdEKyPPyJW",
        "https://video.twimg.com/ext_tw_video/1/vid/1x1/1.mp4",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        X().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
