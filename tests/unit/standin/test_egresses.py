"""Several egresses, identified by their proxies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.standin import Standin, video_id
from tests.unit.standin.clients import client_of

VIDEO = video_id(serial=41)
PAGE = f"https://www.tiktok.com/@_/video/{VIDEO}"


@pytest.fixture
async def standin(state_dir: Path) -> AsyncIterator[Standin]:
    async with Standin(state_dir, egresses=("a", "b")) as running:
        yield running


async def status(standin: Standin, egress: str, url: str = PAGE) -> int:
    proxy = standin.egress_urls.get(egress, standin.proxy_url)
    async with client_of(proxy, standin.ca_file) as client, client.request(url) as response:
        await response.read()
        return response.status


async def detail(standin: Standin, egress: str) -> dict[str, object]:
    async with client_of(standin.egress_urls[egress], standin.ca_file) as client:
        return await client.detail(VIDEO)


def test_every_egress_has_its_own_url(standin: Standin) -> None:
    assert list(standin.egress_urls) == ["a", "b"]
    assert len({standin.proxy_url, *standin.egress_urls.values()}) == 3


async def test_requests_are_counted_by_egress(standin: Standin) -> None:
    for egress in ("a", "b", "a", ""):
        assert await status(standin, egress) == 200

    assert standin.counters.egresses == {("a", "page"): 2, ("b", "page"): 1, ("", "page"): 1}
    assert [event.egress for event in standin.counters.events] == ["a", "b", "a", ""]
    assert standin.counters.as_json()["egresses"]["a"] == {"page": 2}
    assert standin.counters.of(VIDEO) == 4


async def test_post_may_be_withheld_on_one_egress(standin: Standin) -> None:
    standin.switches.set("withheld", egress="a")

    assert (await detail(standin, "a"))["statusCode"] == 10231
    assert (await detail(standin, "b"))["statusCode"] == 0


async def test_failure_of_one_egress_ends_after_its_time(standin: Standin) -> None:
    standin.switches.set("page.503", egress="a", for_seconds=0.3)
    found = [await status(standin, egress) for egress in ("a", "b", "")]
    await asyncio.sleep(0.3)

    assert (found, await status(standin, "a")) == ([503, 200, 200], 200)


async def test_media_switch_applies_to_one_egress(standin: Standin) -> None:
    standin.switches.set("media.429", egress="a")
    async with client_of(standin.proxy_url, standin.ca_file) as client:
        url = (await client.item(VIDEO))["video"]["downloadAddr"]

    assert [await status(standin, egress, url) for egress in ("a", "b", "")] == [429, 200, 200]
    assert standin.counters.egresses["a", "media"] == 1


async def test_connection_switch_applies_to_one_egress(standin: Standin) -> None:
    standin.switches.set("connect.502", egress="b")
    with pytest.raises(aiohttp.ClientHttpProxyError):
        await status(standin, "b")

    assert await status(standin, "a") == 200


async def test_refused_connections_are_counted_by_egress(standin: Standin) -> None:
    with pytest.raises(aiohttp.ClientHttpProxyError):
        await status(standin, "a", "https://clips.example.com/")

    assert standin.counters.egresses["a", "refused"] == 1


async def test_egress_switch_is_set_over_http(standin: Standin) -> None:
    async with aiohttp.ClientSession(standin.control_url, raise_for_status=True) as session:
        wanted = {"scenario": "page.503", "egress": "a"}
        await session.post("/switches", json=wanted)
        found = [await status(standin, "a"), await status(standin, "b")]
        await session.delete("/switches", params={"egress": "a"})

    assert [*found, await status(standin, "a")] == [503, 200, 200]


async def test_no_egress_urls_without_names(state_dir: Path) -> None:
    async with Standin(state_dir) as alone:
        assert alone.egress_urls == {}
