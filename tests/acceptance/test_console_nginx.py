"""The console behind a real nginx, below a path, with a login."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from tests.acceptance.browser import EXPECT_SECONDS, WatchedPage, chromium
from tests.acceptance.client import page
from tests.acceptance.console_process import console_process
from tests.acceptance.nginx import nginx
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.browser]

TOKEN = "0123456789abcdef-token"

WITH_HOST = "proxy_set_header Host $http_host;"


@pytest.mark.parametrize("settings", ["", WITH_HOST], ids=["defaults", "with host"])
async def test_pages_forms_and_login_work_below_a_path(
    pipeline: PipelineProcess, tmp_path: Path, settings: str
) -> None:
    async with (
        console_process(pipeline, CLIPMILL_CONSOLE__TOKEN=TOKEN) as console,
        nginx(tmp_path, console, "/a/b/", settings) as url,
        chromium() as browser,
    ):
        watched = await WatchedPage.open(browser, url)
        opened = watched.page
        await opened.goto(f"{url}request?id=x")
        assert opened.url == f"{url}login"
        await opened.get_by_label("Token").fill(TOKEN)
        await opened.get_by_role("button", name="Log in").click()
        await expect(opened).to_have_url(url)
        (cookie,) = await opened.context.cookies()
        assert (cookie.get("path"), cookie.get("httpOnly")) == ("/a/b", True)

        await opened.get_by_role("link", name="Submit", exact=True).click()
        await opened.get_by_role("textbox", name="Links").fill(page(video_id("deleted")))
        await opened.get_by_role("button", name="Submit").click()
        await expect(opened.get_by_text("Received (UTC)")).to_be_visible()
        assert opened.url.startswith(f"{url}request?id=")
        for target in await watched.links():
            assert target.startswith(url)
            response = await opened.context.request.get(target)
            assert response.ok, target

        await opened.get_by_role("button", name="Log out").click()
        await expect(opened).to_have_url(f"{url}login")
        await opened.goto(url)
        assert opened.url == f"{url}login"
    assert watched.faults == []


@pytest.mark.parametrize(("settings", "status"), [("", 403), (WITH_HOST, 303)])
async def test_form_over_plain_http_needs_the_host_that_the_browser_sent(
    pipeline: PipelineProcess, tmp_path: Path, settings: str, status: int
) -> None:
    async with (
        console_process(pipeline, CLIPMILL_CONSOLE__TOKEN=TOKEN) as console,
        nginx(tmp_path, console, "/a/b/", settings) as url,
        aiohttp.ClientSession() as session,
    ):
        response = await session.post(
            f"{url}login",
            data={"token": TOKEN},
            headers={"Host": "box.lan", "Origin": "http://box.lan"},
            allow_redirects=False,
        )
    assert response.status == status


async def test_changes_arrive_as_they_happen(pipeline: PipelineProcess, tmp_path: Path) -> None:
    async with (
        console_process(pipeline) as console,
        nginx(tmp_path, console, "/a/b/", "") as url,
        aiohttp.ClientSession() as session,
        session.get(f"{url}api/v1/events") as stream,
        asyncio.timeout(EXPECT_SECONDS),
    ):
        assert (await stream.content.readline()).startswith(b"retry:")
        await pipeline.publish({"id": "streamed", "url": page(video_id("deleted", serial=9))})
        while b'"id":"streamed"' not in await stream.content.readline():
            pass
