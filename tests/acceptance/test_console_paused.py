"""A stage that is really paused: the overview shows it, and its remedy resumes it."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from streams.topics import VALIDATED
from tests.acceptance.browser import WatchedPage, chromium, press_on
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.console_process import console_process
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = pytest.mark.browser

LIMIT = 5


async def test_paused_stage_is_resumed_by_its_remedy(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, CLIPMILL_DEADLETTERS__LIMIT=str(LIMIT)) as pipeline:
        await pipeline.start_worker("all")
        client = PipelineClient(pipeline)
        async with console_process(pipeline) as url, chromium() as browser:
            watched = await WatchedPage.open(browser, url)
            opened = watched.page
            for number in range(LIMIT + 1):
                await pipeline.publish_to(VALIDATED, b"{", key=str(number).encode())
            await opened.goto(f"{url}/overview")
            problem = opened.locator(".findings li", has_text="The stage extraction has been")
            await expect(problem).to_contain_text(f"more than {LIMIT} dead letters within 60 s")
            stage = opened.locator("tr", has=opened.get_by_role("rowheader", name="extraction"))
            await expect(stage.locator(".state")).to_have_text("paused")
            await pipeline.publish({"id": "waits", "url": page(video_id(serial=1))})
            await opened.goto(f"{url}/request?id=waits&ordered=submit")
            await expect(opened.locator("main")).to_contain_text("The stage extraction is paused")
            for width in (320, 1_280):
                await watched.check_layout(width, "light")

            await opened.goto(f"{url}/overview")
            await press_on(opened, problem.get_by_role("link", name="Resume extraction…"))
            await expect(opened.locator("main")).to_contain_text("It was paused by")
            await press_on(opened, opened.get_by_role("button", name="Resume 1 stage"))
            # The page refreshes itself.
            await expect(stage.locator(".state")).to_have_text("running")
            await expect(problem).to_have_count(0)
            assert (await client.outcome("waits"))["status"] == "completed"

            await press_on(opened, opened.get_by_role("link", name="Orders", exact=True))
            await expect(opened.locator("tbody tr")).to_have_count(1)
            await expect(opened.locator("tbody tr")).to_contain_text("resume stage extraction")
            await expect(opened.locator("tbody tr")).to_contain_text("console")
            assert watched.faults == [], "\n".join(watched.faults)
