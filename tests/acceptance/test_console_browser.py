"""The pages of the console in Chromium: every page is clean, and the keyboard does everything."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from streams.deadletters.headers import make_dead_letter
from streams.records import Incoming
from streams.topics import DEADLETTERS
from streams.topics import REQUESTS as TOPIC
from tests.acceptance.browser import EXPECT_SECONDS, WatchedPage, chromium, press_on, tab_to
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.console_process import console_process
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.browser]

WIDTHS = (320, 1_280)
SCHEMES = ("light", "dark")

PAGES_OF_A_KIND = 3
"""Pages with the same path and the same parameters that are visited, besides the first ones."""

OWN_PAGES = {
    *(
        "",
        "api",
        "breakers",
        "caches",
        "cancel",
        "codes",
        "deadletter",
        "deadletters",
        "failures",
        "job",
    ),
    *(
        "jobs",
        "library",
        "new-job",
        "open-breaker",
        "orders",
        "overview",
        "pipeline",
        "replay",
        "request",
    ),
    *("reset-breaker", "retry", "settings", "submit"),
}
"""The least that the crawl has to find."""

BREAKER = "tiktok:resolve:spare"
"""Of an egress that no request uses."""

DEAD_LETTER = "buried"
"""Id of the request in the dead letter."""

REQUESTS: dict[str, dict[str, object]] = {
    "done": {"url": page(video_id("kilobytes", param=16))},
    "photos": {"url": page(video_id("photo"))},
    "gone": {"url": page(video_id("deleted"))},
    "hostile": {"url": page(video_id("hostile"))},
    "markup": {"url": "https://example.com/<script>alert(1)</script>"},
    "batch": {"urls": [page(video_id("ok", serial=7)), page(video_id("deleted", serial=7))]},
}


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def console(pipeline: PipelineProcess, client: PipelineClient) -> AsyncIterator[str]:
    """A console whose history has requests of every kind, one of them in progress."""
    async with console_process(pipeline) as url:
        await pipeline.publish(*({"id": name, **each} for name, each in REQUESTS.items()))
        running = page(video_id("media.takes", param=90, serial=1))
        await pipeline.publish({"id": "running", "url": running})
        await client.wait_for([*REQUESTS.keys() - {"batch"}, "batch/0", "batch/1"])
        await create_job(url)
        await bury_request(pipeline)
        await open_breaker(url)
        yield f"{url}/"


async def bury_request(pipeline: PipelineProcess) -> None:
    """Publish a dead letter that can be replayed."""
    request = {"id": DEAD_LETTER, "url": page(video_id("ok", serial=72))}
    record = Incoming(TOPIC.name, 0, 10**6, None, json.dumps(request).encode(), (), time.time())
    letter = make_dead_letter(record, step="validation", code="internal.bug", reason="KeyError: 0")
    await pipeline.publish_to(DEADLETTERS, letter.value, headers=list(letter.headers))


async def open_breaker(url: str) -> None:
    """Force a breaker open, and wait for its state."""
    async with (
        aiohttp.ClientSession(base_url=url) as session,
        asyncio.timeout(EXPECT_SECONDS),
    ):
        await session.post(f"/api/v1/breakers/{BREAKER}/open", json={})
        while True:
            if BREAKER in await (await session.get("/api/v1/breakers")).text():
                return
            await asyncio.sleep(0.1)


async def create_job(url: str) -> None:
    """Create a job as soon as the history has a request that it applies to."""
    job = {"command": "retry", "filter": {"error": "content.not_found"}}
    async with (
        aiohttp.ClientSession(base_url=url) as session,
        asyncio.timeout(EXPECT_SECONDS),
    ):
        while True:
            response = await session.post("/api/v1/jobs", json=job)
            if response.status == HTTPStatus.ACCEPTED:
                return
            await asyncio.sleep(0.1)


def kind_of(url: str) -> tuple[str, ...]:
    """Return what pages of one kind have in common: path, and names of the parameters."""
    parts = urlsplit(url)
    return parts.path, *sorted(name for name, _ in parse_qsl(parts.query))


async def test_every_page_is_clean(browser: Browser, console: str) -> None:
    watched = await WatchedPage.open(browser, console)
    starts = [
        console,
        f"{console}open-breaker?name={BREAKER}",
        # The last one is visited first, while it runs.
        *(f"{console}request?id={name}" for name in (*REQUESTS, "running")),
    ]
    unread, seen, kinds = [*starts], {*starts}, Counter[tuple[str, ...]]()
    while unread:
        url = unread.pop()
        kinds[kind_of(url)] += 1
        if url not in starts and kinds[kind_of(url)] > PAGES_OF_A_KIND:
            continue
        if not await is_page(watched.page, url):
            continue
        await watched.page.goto(url)
        for width in WIDTHS:
            for scheme in SCHEMES:
                await watched.check_layout(width, scheme)
        new = [each for each in await watched.links() if each not in seen]
        assert all(each.startswith(console) for each in new), new
        seen.update(new)
        unread += new
    assert watched.faults == [], "\n".join(watched.faults)
    assert {path.removeprefix("/") for path, *_ in kinds} >= OWN_PAGES


async def is_page(opened: Page, url: str) -> bool:
    """Return whether a link leads to a page; whatever else it leads to is there."""
    response = await opened.request.fetch(url, method="HEAD")
    assert response.ok, f"{url}: {response.status}"
    return response.headers["content-type"].startswith("text/html")


async def submit(opened: Page, text: str) -> None:
    """Submit a link by keyboard; its page is shown at the end."""
    await press_on(opened, opened.get_by_role("link", name="Submit"))
    await tab_to(opened, opened.get_by_role("textbox", name="Links"))
    await opened.keyboard.type(text)
    await press_on(opened, opened.get_by_role("button", name="Submit"))
    await expect(opened.get_by_text("Received (UTC)")).to_be_visible()


async def reload_until(opened: Page, text: str) -> None:
    """Reload a request's page until it shows a state."""
    state = opened.locator("dd .state", has_text=text)
    for _ in range(100):
        if await state.count():
            return
        await opened.wait_for_timeout(300)
        await opened.reload()
    raise AssertionError(await opened.locator("main").inner_text())


async def test_failed_request_is_found_and_retried_by_keyboard(
    browser: Browser, console: str, pipeline: PipelineProcess
) -> None:
    video = video_id("ok", serial=70)
    watched = await WatchedPage.open(browser, console)
    opened = watched.page
    pipeline.standin.switch("deleted", video=video)
    await opened.goto(console)
    await submit(opened, page(video))
    await reload_until(opened, "failed")
    pipeline.standin.clear(video=video)

    await opened.keyboard.press("/")
    await opened.keyboard.type("content.not_found")
    await opened.keyboard.press("Enter")
    await expect(opened.get_by_role("textbox", name="error")).to_have_value("content.not_found")
    await tab_to(opened, opened.get_by_role("textbox", name="url"))
    await opened.keyboard.type(page(video))
    await opened.keyboard.press("Enter")
    row = opened.locator("tbody tr")
    await expect(row).to_have_count(1)
    await press_on(opened, row.locator("td:nth-child(2) a"))
    await expect(opened.locator("main")).to_contain_text("content.not_found")

    await press_on(opened, opened.get_by_role("link", name="Retry"))
    await tab_to(opened, opened.locator("select[name=quality]"))
    await opened.keyboard.type("worst")
    await press_on(opened, opened.get_by_role("button", name="Retry"))
    await expect(opened.get_by_text("Received (UTC)")).to_be_visible()
    await reload_until(opened, "completed")
    await expect(opened.locator(".files")).to_contain_text("540p")
    assert watched.faults == [], "\n".join(watched.faults)


async def test_running_download_is_cancelled_by_keyboard(browser: Browser, console: str) -> None:
    watched = await WatchedPage.open(browser, console)
    opened = watched.page
    await opened.goto(console)
    await submit(opened, page(video_id("media.takes", param=90, serial=71)))
    await reload_until(opened, "selected")
    await press_on(opened, opened.get_by_role("link", name="Cancel"))
    await expect(opened.get_by_text("1 request will be cancelled")).to_be_visible()
    await press_on(opened, opened.get_by_role("button", name="Cancel 1 request"))
    await reload_until(opened, "cancelled")
    assert watched.faults == [], "\n".join(watched.faults)


async def test_progress_of_a_download_moves_until_its_end(browser: Browser, console: str) -> None:
    watched = await WatchedPage.open(browser, console)
    opened = watched.page
    await opened.goto(console)
    await submit(opened, page(video_id("media.takes", param=12, serial=75)))
    # From here on the page changes by its event stream alone.
    await expect(opened.get_by_role("progressbar", name="Downloading")).to_be_visible()
    first = await opened.evaluate("document.querySelector('progress').value")
    await opened.wait_for_function(
        "first => document.querySelector('progress').value > first", arg=first
    )
    assert await opened.locator("[data-part=progress] p").inner_text() != ""
    await expect(opened.locator("dd .state")).to_have_text("completed")
    await expect(opened.get_by_role("progressbar")).to_have_count(0)
    assert watched.faults == [], "\n".join(watched.faults)


async def test_submitted_links_are_listed_without_a_click(browser: Browser, console: str) -> None:
    links = [page(video_id("media.takes", param=5, serial=serial)) for serial in (73, 74)]
    watched = await WatchedPage.open(browser, console)
    opened = watched.page
    await opened.goto(f"{console}submit")
    await opened.get_by_role("textbox", name="Links").fill(" ".join(links))
    await opened.get_by_role("button", name="Submit").click()
    await expect(opened.get_by_role("status")).to_contain_text("2 requests are published")
    for link in links:
        row = opened.locator("tbody tr", has_text=link)
        await expect(row).to_contain_text("completed")
        await expect(row.locator("bdi.title")).not_to_be_empty()
    await expect(opened.locator("#new-requests")).to_be_hidden()
    assert watched.faults == [], "\n".join(watched.faults)


async def test_dead_letter_is_replayed_by_keyboard(browser: Browser, console: str) -> None:
    watched = await WatchedPage.open(browser, console)
    opened = watched.page
    await opened.goto(console)
    await press_on(opened, opened.get_by_role("link", name="Overview"))
    problem = opened.locator(".findings li", has_text="1 dead letter waits: internal.bug.")
    await press_on(opened, problem.get_by_role("link", name="Replay 1"))
    await expect(opened.get_by_role("heading")).to_contain_text("Replay 1 dead letter?")
    await press_on(opened, opened.get_by_role("button", name="Replay 1 dead letter"))
    await expect(opened.locator("main")).to_contain_text("finished")
    await press_on(opened, opened.get_by_role("link", name="Overview"))
    await expect(opened).to_have_url(f"{console}overview")
    await expect(problem).to_have_count(0)
    await opened.goto(f"{console}request?id={DEAD_LETTER}/replay-1&ordered=replay")
    await expect(opened.get_by_text("Received (UTC)")).to_be_visible()
    await reload_until(opened, "completed")
    assert watched.faults == [], "\n".join(watched.faults)


async def test_breaker_is_reset_and_opened_by_keyboard(browser: Browser, console: str) -> None:
    watched = await WatchedPage.open(browser, console)
    opened = watched.page
    await opened.goto(console)
    await press_on(opened, opened.get_by_role("link", name="Breakers"))
    row = opened.locator("tr", has_text=BREAKER)
    for command, state in (("Reset", "closed"), ("Open", "forced open")):
        await press_on(opened, row.get_by_role("link", name=f"{command} {BREAKER}"))
        await press_on(opened, opened.get_by_role("button", name=f"{command} 1 breaker"))
        # The page refreshes itself.
        await expect(row.locator(".state")).to_have_text(state)
    await expect(row).to_contain_text("console")
    assert watched.faults == [], "\n".join(watched.faults)
