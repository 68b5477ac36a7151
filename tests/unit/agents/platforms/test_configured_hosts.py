from typing import Any

import pytest

from agents.platforms.configured import PlatformOnMoreHosts
from agents.platforms.interface import Platform, ShortLink
from agents.platforms.registry import Platforms
from agents.platforms.short_links import LinkResponse, next_step
from agents.platforms.tiktok.handler import CAPABILITIES, TikTok
from schemas.errors import ClipmillError, ErrorCode
from schemas.request import MAX_URL_CHARACTERS
from schemas.video import VideoRef

NEW = "www.tiktok.example"
ID = "7608826249200356630"
POST = VideoRef(platform="tiktok", id=ID, url=f"https://www.tiktok.com/@name/video/{ID}")


class AddedHosts:
    """Page hosts of the settings."""

    short_hosts: tuple[str, ...] = ()
    extractors: tuple[str, ...] = ()
    media_hosts: tuple[str, ...] = ()

    def __init__(self, *hosts: str) -> None:
        self.hosts = hosts


@pytest.fixture
def platform() -> Platform:
    return PlatformOnMoreHosts(TikTok(), (NEW, "vm.tiktok.com"))


@pytest.mark.parametrize(
    "link",
    [
        f"https://{NEW}/@name/video/{ID}",
        f"http://{NEW}/@name/video/{ID}?lang=en#top",
        f"{NEW}/@name/video/{ID}",
        f"https://{NEW.upper()}/@name/video/{ID}",
        POST.url,
    ],
)
def test_link_on_an_added_host_is_the_post_of_the_own_host(platform: Platform, link: str) -> None:
    assert platform.is_valid_url(link)
    assert platform.parse_url(link) == POST


def test_short_links_are_requested_from_own_hosts_only(platform: Platform) -> None:
    shared = platform.parse_url(f"https://{NEW}/t/ZTabc123/")
    assert shared == ShortLink(url="https://www.tiktok.com/t/ZTabc123/")
    own = platform.parse_url("https://vm.tiktok.com/ZMabc123/")
    assert own == ShortLink(url="https://vm.tiktok.com/ZMabc123/")


def test_short_link_that_redirects_to_an_added_host_is_resolved(platform: Platform) -> None:
    response = LinkResponse(301, f"https://{NEW}/@name/video/{ID}?_r=1")
    hop = ShortLink(url="https://vm.tiktok.com/ZMabc123/")
    assert next_step(platform, hop, response) == POST


def test_added_hosts_are_page_hosts_and_change_nothing_else(platform: Platform) -> None:
    found = platform.get_capabilities()
    assert found.page_hosts == (*CAPABILITIES.page_hosts, NEW)
    assert found.link_hosts == CAPABILITIES.link_hosts
    assert found.media_hosts == CAPABILITIES.media_hosts


@pytest.mark.parametrize(
    ("link", "code"),
    [
        (f"https://{NEW}/about", ErrorCode.CONTENT_UNSUPPORTED),
        (f"https://{NEW}/", ErrorCode.CONTENT_UNSUPPORTED),
        (f"https://sub.{NEW}/@name/video/{ID}", ErrorCode.CONTENT_UNSUPPORTED),
        (f"https://{NEW}:8443/@name/video/{ID}", ErrorCode.REQUEST_INVALID),
        (f"https://www.tiktok.com@{NEW}/@name/video/{ID}", ErrorCode.REQUEST_INVALID),
        (f"https://{NEW}/@name/video/{'9' * 30}", ErrorCode.REQUEST_INVALID),
        (f"https://{NEW}/{'a' * MAX_URL_CHARACTERS}", ErrorCode.REQUEST_TOO_LARGE),
        ("", ErrorCode.REQUEST_INVALID),
    ],
    ids=lambda value: str(value)[:60],
)
def test_other_link_is_rejected(platform: Platform, link: str, code: ErrorCode) -> None:
    with pytest.raises(ClipmillError) as caught:
        platform.parse_url(link)
    assert caught.value.code is code


EXAMPLES = {
    "bluesky": "/profile/some.bsky.social/post/abc",
    "douyin": f"/video/{ID}",
    "facebook": "/reel/123",
    "instagram": "/reel/abcde",
    "reddit": "/r/videos/comments/abc",
    "streamable": "/moo",
    "tiktok": f"/@name/video/{ID}",
    "vimeo": "/76979871",
    "x": "/name/status/123",
    "youtube": "/watch?v=aaaaaaaaaaa",
}


@pytest.mark.parametrize(("name", "path"), EXAMPLES.items())
def test_every_installed_platform_takes_page_hosts(name: str, path: str) -> None:
    platforms = Platforms.load({name: AddedHosts("new.example")})
    own = Platforms.load().by_name(name)
    expected = own.parse_url(f"https://{own.get_capabilities().page_hosts[0]}{path}")
    assert isinstance(expected, VideoRef)
    assert platforms.find(f"look: https://new.example{path}")[1] == expected


def test_every_platform_has_an_example() -> None:
    assert set(EXAMPLES) == set(Platforms.load().names)


def test_page_host_of_another_platform_is_an_error_that_names_both() -> None:
    with pytest.raises(ClipmillError, match=r"the host vimeo\.com \(tiktok and vimeo\)") as caught:
        Platforms.load({"tiktok": AddedHosts("vimeo.com")})
    assert caught.value.code is ErrorCode.SYSTEM_CONFIG


def test_page_host_that_two_platforms_add_is_an_error() -> None:
    added = AddedHosts("new.example")
    with pytest.raises(ClipmillError, match=r"host new\.example \(tiktok and youtube\)"):
        Platforms.load({"tiktok": added, "youtube": added})


def test_page_hosts_of_an_unknown_platform_are_an_error() -> None:
    with pytest.raises(ClipmillError, match=r"platforms\.unknown only adds hosts"):
        Platforms.load({"unknown": AddedHosts("new.example")})


async def test_other_methods_are_those_of_the_platform(platform: Platform) -> None:
    class Engine:
        async def extract(self, job: Any) -> Any:
            raise AssertionError(job.url)

    with pytest.raises(AssertionError, match=r"https://www\.tiktok\.com/@name/video/"):
        await platform.get_video_info(POST, Engine(), egress="direct", deadline_seconds=1)
