"""Pages and their failure scenarios over HTTP."""

import asyncio
import time

import aiohttp
import pytest

from tests.standin import Standin, user_name, video_id
from tests.unit.standin.clients import DETAIL, Client, universal_data


def page(video: str, user: str = "_") -> str:
    return f"https://www.tiktok.com/@{user}/video/{video}"


async def statuses(client: Client, url: str, *methods: str) -> list[int]:
    found = []
    for method in methods:
        async with client.request(url, method) as response:
            await response.read()
            found.append(response.status)
    return found


async def test_head_does_not_count_as_a_failed_request(client: Client) -> None:
    url = page(video_id("page.503", times=1))

    assert await statuses(client, url, "HEAD", "HEAD", "GET", "HEAD", "GET") == [
        *(503, 503, 503, 200, 200)
    ]


async def test_huge_page_is_served(client: Client) -> None:
    async with client.request(page(video_id("page.huge"))) as response:
        assert len(await response.read()) > 9 << 20


async def test_truncated_page_ends_early(client: Client) -> None:
    async with client.request(page(video_id("page.truncated", param=20))) as response:
        assert int(response.headers["Content-Length"]) > 300_000
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_page_is_sent_slowly(client: Client) -> None:
    async with client.request(page(video_id("page.drip"))) as response:
        started = time.monotonic()
        assert len(await response.content.readexactly(1024)) == 1024

    assert 0.3 < time.monotonic() - started < 2


async def test_page_is_delayed(client: Client) -> None:
    started = time.monotonic()

    assert await statuses(client, page(video_id("page.slow", param=300)), "GET") == [200]
    assert time.monotonic() - started > 0.3


async def test_latency_applies_to_all_pages(standin: Standin, client: Client) -> None:
    standin.switches.latency_seconds = 0.2
    started = time.monotonic()
    await statuses(client, page(video_id()), "GET")

    assert time.monotonic() - started > 0.2


async def test_connection_of_a_page_is_reset(standin: Standin, client: Client) -> None:
    video = video_id("page.reset")
    with pytest.raises((aiohttp.ClientError, ConnectionResetError)):
        await statuses(client, page(video), "GET")

    assert standin.counters.of(video) >= 1


async def test_all_pages_fail_until_the_switch_is_cleared(standin: Standin, client: Client) -> None:
    url = page(video_id())
    standin.switches.set("page.503")
    assert await statuses(client, url, "GET", "GET") == [503, 503]
    standin.switches.clear()
    assert await statuses(client, url, "GET") == [200]


async def test_user_names_and_ids_select_scenarios_alike(client: Client) -> None:
    assert await statuses(client, page(video_id("page.451")), "GET") == [451]
    assert await statuses(client, page("1", user_name("page.451")), "GET") == [451]
    assert await statuses(client, page("1", "sc_page.451"), "GET") == [451]


async def test_login_wall_redirects(client: Client) -> None:
    async with client.request(page(video_id("login"))) as response:
        assert response.status == 302
        assert response.headers["Location"].startswith("https://www.tiktok.com/login?")


@pytest.mark.parametrize("scenario", ["layout", "captcha", "challenge"])
async def test_walls_have_no_universal_data(client: Client, scenario: str) -> None:
    async with client.request(page(video_id(scenario))) as response:
        assert b"__UNIVERSAL_DATA_FOR_REHYDRATION__" not in await response.read()


async def test_classified_content_has_no_video(client: Client) -> None:
    item = await client.item(video_id("age"))

    assert item["isContentClassified"] is True
    assert "video" not in item


async def test_post_has_formats_after_the_first_requests(client: Client) -> None:
    video = video_id("noformats", times=1)
    assert not (await client.item(video))["video"]["bitrateInfo"]
    url = await client.media_url(video)

    assert await statuses(client, url, "GET") == [200]


async def test_connections_are_reused(standin: Standin, client: Client) -> None:
    for serial in range(5):
        await statuses(client, page(video_id(serial=serial)), "GET")

    assert standin.counters.connections == 1


async def test_concurrent_requests_get_their_own_pages(client: Client) -> None:
    async def one(serial: int) -> str:
        async with client.request(page(video_id(serial=serial))) as response:
            scope = universal_data(await response.read())
        found: str = scope[DETAIL]["itemInfo"]["itemStruct"]["id"]
        return found

    found = await asyncio.gather(*(one(serial) for serial in range(20)))

    assert found == [video_id(serial=serial) for serial in range(20)]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_other_methods_are_rejected(client: Client, method: str) -> None:
    assert await statuses(client, page(video_id()), method) == [405]
