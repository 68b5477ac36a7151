import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.youtube import YouTube
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

VIDEO = VideoRef(
    platform="youtube", id="YE7VzlLtp-4", url="https://www.youtube.com/watch?v=YE7VzlLtp-4"
)


def test_canonical_url_is_accepted_by_the_extractor() -> None:
    found = load_extractor(YouTube.capabilities.extractors[0])
    assert found.__base__.__module__.startswith("yt_dlp.extractor.youtube")
    assert found.suitable(VIDEO.url)


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=YE7VzlLtp-4&t=1s&list=PLx&index=2",
        "https://m.youtube.com/watch?app=desktop&v=YE7VzlLtp-4",
        "https://www.youtube.com/watch?v=YE7VzlLtp-4&v=BaW_jenozKc",
        "https://music.youtube.com/watch?v=YE7VzlLtp-4",
        "https://youtube.com/shorts/YE7VzlLtp-4?feature=share",
        "https://www.youtube.com/embed/YE7VzlLtp-4",
        "https://www.youtube-nocookie.com/embed/YE7VzlLtp-4?rel=0",
        "https://www.youtube.com/live/YE7VzlLtp-4",
        "http://youtu.be/YE7VzlLtp-4?si=x",
    ],
)
def test_links_of_a_video_are_one_video(url: str) -> None:
    assert YouTube().parse_url(url) == VIDEO


def test_ids_that_differ_in_case_are_two_videos() -> None:
    assert YouTube().parse_url("https://youtu.be/ye7VzlLtp-4").id != VIDEO.id


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/",
        "https://www.youtube.com/watch",
        "https://www.youtube.com/watch?v=short",
        "https://www.youtube.com/@BlenderOfficial",
        "https://www.youtube.com/playlist?list=PLx",
        "https://www.youtube.com/shorts/YE7VzlLtp-4/comments",
        "https://youtu.be/",
        "https://youtu.be/watch?v=YE7VzlLtp-4",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        YouTube().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
