"""The resolver with its real HTTP client, against a local short-link service."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from agents.network.egress import Egress
from agents.network.session import open_session
from agents.platforms.interface import ShortLink
from agents.platforms.short_links import LinkResolver
from agents.platforms.tiktok.handler import TikTok
from schemas.errors import ClipmillError, ErrorCode
from tests.standin.ids import video_id
from tests.standin.posts import post_for
from tests.standin.server import Standin
from tests.standin.short_links import KINDS, short_code


@pytest_asyncio.fixture
async def links(tmp_path: Path) -> AsyncIterator[LinkResolver]:
    async with Standin(tmp_path) as standin:
        egress = Egress(proxy=standin.proxy_url, ca_file=standin.ca_file)
        async with open_session(egress) as session:
            yield LinkResolver(session, deadline_seconds=10)


def link(kind: str) -> ShortLink:
    return ShortLink(url=f"https://vm.tiktok.com/{short_code(video_id(), kind)}/")


AUTHOR = post_for(video_id()).author
TARGETS = {
    "video": f"@{AUTHOR}/video/{video_id()}",
    "chain": f"@{AUTHOR}/video/{video_id()}",
    "photo": f"@{AUTHOR}/video/{video_id()}",
    "story": f"@{AUTHOR}/story/{video_id()}",
    "profile": f"@{AUTHOR}",
    "collection": f"@{AUTHOR}/collection/cats-{video_id()}",
    "browser": f"@{AUTHOR}/video/{video_id()}",
    "app": f"@{AUTHOR}/video/{video_id()}",
    "wall": f"@{AUTHOR}/video/{video_id()}",
    "lite": f"@_/video/{video_id()}",
    "escaped": f"@{AUTHOR}/video/{video_id()}",
    "shared": f"@_/video/{video_id()}",
    "account": f"@{AUTHOR}",
}


@pytest.mark.parametrize(("kind", "page"), TARGETS.items())
async def test_short_link_resolves_to_its_target(links: LinkResolver, kind: str, page: str) -> None:
    found = await links.resolve(link(kind), TikTok())
    assert found.url == f"https://www.tiktok.com/{page}"


@pytest.mark.parametrize(
    "shared", ["www.tiktok.com/share/user/{}", "m.tiktok.com/h5/share/usr/{}.html"]
)
async def test_account_id_resolves_to_its_profile(links: LinkResolver, shared: str) -> None:
    link = TikTok().parse_url(f"https://{shared.format(video_id())}")
    assert isinstance(link, ShortLink)
    found = await links.resolve(link, TikTok())
    assert found.url == f"https://www.tiktok.com/@{AUTHOR}"


REFUSALS = {
    "live": ErrorCode.CONTENT_UNSUPPORTED,
    "dead": ErrorCode.CONTENT_NOT_FOUND,
    "loop": ErrorCode.CONTENT_UNSUPPORTED,
    "outside": ErrorCode.CONTENT_UNSUPPORTED,
    "loopback": ErrorCode.CONTENT_UNSUPPORTED,
    "home": ErrorCode.CONTENT_NOT_FOUND,
    "login": ErrorCode.CONTENT_LOGIN_REQUIRED,
    "page": ErrorCode.RATE_LIMIT_IP_BLOCK,
    "nowhere": ErrorCode.RATE_LIMIT_IP_BLOCK,
    "way": ErrorCode.RATE_LIMIT_IP_BLOCK,
    "limited": ErrorCode.RATE_LIMIT_API,
    "broken": ErrorCode.NETWORK_SERVER,
}


@pytest.mark.parametrize(("kind", "code"), REFUSALS.items())
async def test_unusable_short_link_is_an_error(
    links: LinkResolver, kind: str, code: ErrorCode
) -> None:
    with pytest.raises(ClipmillError) as caught:
        await links.resolve(link(kind), TikTok())
    assert caught.value.code is code


def test_every_kind_of_link_is_covered() -> None:
    # "hang" ends at the deadline, which `test_links` tests without waiting.
    assert {"hang", *TARGETS, *REFUSALS} == set(KINDS)
