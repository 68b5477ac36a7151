import pytest

from agents.engine.extractors import load_extractor
from agents.platforms.douyin import Douyin
from agents.platforms.interface import ShortLink
from schemas.errors import ClipmillError, ErrorCode
from schemas.video import VideoRef

ID = "6961737553342991651"
POST = VideoRef(platform="douyin", id=ID, url=f"https://www.douyin.com/video/{ID}")


def test_canonical_url_is_accepted_by_the_extractor() -> None:
    found = load_extractor(Douyin.capabilities.extractors[0])
    assert found.__base__.__module__ == "yt_dlp.extractor.tiktok"
    assert found.suitable(POST.url)


@pytest.mark.parametrize(
    "url",
    [
        f"https://www.douyin.com/video/{ID}",
        f"https://www.douyin.com/note/{ID}/",
        f"https://www.douyin.com/user/MS4wLjABAAAA?modal_id={ID}",
        f"https://www.douyin.com/?modal_id={ID}",
        f"https://www.iesdouyin.com/share/video/{ID}/?region=CN&mid=1",
        f"https://m.douyin.com/share/slides/{ID}",
    ],
)
def test_links_of_a_post_are_one_video(url: str) -> None:
    assert Douyin().parse_url(url) == POST


def test_short_link_is_resolved_first() -> None:
    assert Douyin().parse_url("https://v.douyin.com/iRNBho6V") == ShortLink(
        url="https://v.douyin.com/iRNBho6V/"
    )


@pytest.mark.parametrize(
    "url",
    [
        "https://www.douyin.com/",
        "https://www.douyin.com/user/MS4wLjABAAAA",
        "https://www.douyin.com/?modal_id=x",
        "https://live.douyin.com/123",
        f"https://v.douyin.com/a/b?modal_id={ID}",
    ],
)
def test_other_pages_are_unsupported(url: str) -> None:
    with pytest.raises(ClipmillError) as caught:
        Douyin().parse_url(url)
    assert caught.value.code is ErrorCode.CONTENT_UNSUPPORTED
