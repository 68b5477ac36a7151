"""Chromium, and what a page does in it that no page may do."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import (
    Browser,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    async_playwright,
    expect,
)

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-sync")
"""Chromium has no sandbox as root; a container's /dev/shm is too small for it."""

REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation",
  (event) => console.error(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
"""

EXPECT_SECONDS = 30
"""Playwright's default, 5 s, is one refresh of a page on a machine that two test runs share."""

expect.set_options(timeout=EXPECT_SECONDS * 1_000)

TABS_MAX = 120
"""Presses of the tab key after which an element counts as unreachable."""


def program(*names: str) -> str:
    """Return the path of the first program that is installed; the test fails without one."""
    for name in names:
        if found := shutil.which(name, path="/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"):
            return found
    pytest.fail(f"{names[0]} is missing; install it (Debian: `apt-get install {names[0]}`)")


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    path = program("chromium", "chromium-browser", "google-chrome")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            await browser.close()


@dataclass
class WatchedPage:
    """A page, and its faults.

    Attributes:
        origin: of the console; the page may request nothing else.
        faults: console errors, reports of the content security policy, failed requests, requests to
            other origins.
    """

    page: Page
    origin: str
    faults: list[str] = field(default_factory=list)

    @classmethod
    async def open(cls, browser: Browser, url: str) -> "WatchedPage":
        page = await browser.new_page()
        watched = cls(page, "{0.scheme}://{0.netloc}".format(urlsplit(url)))
        await page.add_init_script(REPORT_VIOLATIONS)
        page.on("console", watched._note_message)
        page.on("pageerror", lambda error: watched.faults.append(f"error: {error}"))
        page.on("request", watched._note_request)
        page.on("requestfailed", watched._note_failure)
        return watched

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{self.page.url}: {message.type}: {message.text}")

    def _note_request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.origin}/", "data:")):
            self.faults.append(f"{self.page.url}: foreign request to {request.url}")

    def _note_failure(self, request: Request) -> None:
        # What the browser aborts because the page is left.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"{request.url}: {request.failure}")

    async def check_layout(self, width: int, scheme: str) -> None:
        """Note violations of axe, and horizontal scrolling, at a width and in a colour scheme."""
        await self.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        await self.page.set_viewport_size({"width": width, "height": 800})
        where = f"{self.page.url} at {width} px, {scheme}"
        found = await Axe().run(self.page)
        self.faults += [
            f"{where}: {each['id']}: {each['help']}: {[node['html'] for node in each['nodes']][:3]}"
            for each in found.response["violations"]
        ]
        scroll = await self.page.evaluate("document.documentElement.scrollWidth")
        if scroll > width:
            self.faults.append(f"{where}: scrolls horizontally, {scroll} px wide")

    async def links(self) -> list[str]:
        """Return the absolute targets of the page's links, without fragments."""
        targets: list[str] = await self.page.eval_on_selector_all(
            "a[href]", "(all) => all.map((each) => each.href.split('#')[0])"
        )
        return list(dict.fromkeys(targets))


async def tab_to(page: Page, target: Locator) -> None:
    """Press the tab key until an element has the focus."""
    for _ in range(TABS_MAX):
        if await target.evaluate("(each) => each === document.activeElement"):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"the tab key does not reach {target}")


async def press_on(page: Page, target: Locator, key: str = "Enter") -> None:
    """Move the focus to an element by the tab key, and press a key there."""
    await tab_to(page, target)
    await page.keyboard.press(key)
