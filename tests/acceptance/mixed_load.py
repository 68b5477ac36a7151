"""Two workers under a load in which every event that the boards show occurs at least once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from streams.topics import DEADLETTERS, VALIDATED
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.outage import SteadyLoad, breaker_changes, wait_until_open
from tests.acceptance.test_storage_away import SMALL_DISK, worker_path
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id
from tests.standin.sessions import ENDED, LIMITED, living_session, session_cookies_file

SPACE = "16m"
EGRESS = "proxy"
SETTINGS = {
    "CLIPMILL_BREAKER__OPEN_SECONDS": "2",
    "CLIPMILL_DOWNLOAD__FREE_BYTES": str(2**20),
    "CLIPMILL_DOWNLOAD__STORAGE_CHECK_SECONDS": "0.5",
    "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    "CLIPMILL_RETRY__WAITS_SECONDS": json.dumps(
        {"network.server": [1, 2, 4, 8], "platform.changed": [2, 4], "rate_limit.api": [1, 2, 4]}
    ),
}


class MixedLoad:
    """Drives two ``workers``, the second with a small disk, through all kinds of events."""

    def __init__(self, pipeline: PipelineProcess) -> None:
        self.pipeline = pipeline
        self.client = PipelineClient(pipeline)
        self.workers: list[Process] = []

    async def start(self) -> None:
        accounts = self.pipeline.directory / "accounts"
        accounts.mkdir()
        session_cookies_file(accounts / "a-limited.txt", LIMITED)
        session_cookies_file(accounts / "b-ended.txt", ENDED)
        session_cookies_file(accounts / "c-living.txt", living_session())
        self.pipeline.variables["CLIPMILL_AUTH__COOKIE_FILES"] = json.dumps(
            {"tiktok": str(accounts)}
        )
        self.pipeline.data_dir.mkdir(exist_ok=True)
        others = {"CLIPMILL_DATA_DIR": str(self.pipeline.directory / "others")}
        prefix = (*SMALL_DISK, SPACE, str(self.pipeline.data_dir))
        self.workers = [
            *await asyncio.gather(
                self.pipeline.start_worker("all", **others),
                self.pipeline.start_worker("all", prefix=prefix),
            )
        ]

    async def run(self) -> None:
        """Run all parts one after the other."""
        for part in (
            self.hits_and_misses,
            self.requests_of_all_kinds,
            self.cancellation_and_expiry,
            self.rate_limited_requests,
            self.outage,
            self.page_change,
            self.accounts,
            self.dead_letter_and_replay,
            self.full_disk,
        ):
            await part()

    async def info(self, *videos: str, **fields: Any) -> list[dict[str, Any]]:
        """Request the metadata of videos."""
        requests = [self.client.request(page(each), action="info", **fields) for each in videos]
        return await asyncio.gather(*requests)

    async def hits_and_misses(self) -> None:
        """Cache misses, then cache hits, of pages and files."""
        videos = [video_id("kilobytes", param=16, serial=serial) for serial in range(8)]
        for _ in range(3):
            await self.info(*videos)
            await asyncio.gather(*(self.client.request(page(each)) for each in videos))
        await self.info(*(video_id("deleted", serial=9),) * 2)

    async def requests_of_all_kinds(self) -> None:
        """A challenge, a batch, a rejected link, commands and a duplicate request id."""
        await self.info(video_id("challenge.any", serial=20))
        members = [page(video_id(serial=serial)) for serial in range(30, 34)]
        await self.pipeline.publish({"id": "batch", "urls": members, "action": "info"})
        await self.client.summary("batch")
        await self.client.request(members[0], id="once", action="info")
        await self.pipeline.publish({"id": "once", "url": members[1], "action": "info"})
        await self.client.request("https://example.com/no-video")
        await self.pipeline.publish_command(
            command="refresh", video=f"tiktok:{video_id(serial=30)}"
        )
        await self.pipeline.publish_command(command="retry", request_id="once")

    async def cancellation_and_expiry(self) -> None:
        """A cancelled download, an expired request."""
        slow = video_id("media.takes", param=60, serial=40)
        await self.pipeline.publish({"id": "cancelled", "url": page(slow)})
        await asyncio.sleep(1)
        await self.pipeline.publish_command(command="cancel", request_id="cancelled")
        await self.client.outcome("cancelled")
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        await self.client.request(page(video_id("page.hang", serial=41)), deadline=soon)

    async def rate_limited_requests(self) -> None:
        """More pages per second than the platform's rate limit, for some seconds."""
        self.pipeline.standin.limit_rate(4)
        await self.info(*(video_id(serial=serial) for serial in range(100, 130)), seconds=60)
        self.pipeline.standin.limit_rate()

    async def outage(self) -> None:
        """The platform fails until the breaker opens; parked requests are resumed."""
        load = SteadyLoad(self.pipeline, 20, first_serial=1_000)
        self.pipeline.standin.switch("page.503")
        failing = asyncio.create_task(load.run(4, action="info"))
        await wait_until_open(self.client, "extract", EGRESS)
        await failing
        self.pipeline.standin.clear()
        await self.client.wait_for(list(load.published), 60)

    async def page_change(self) -> None:
        """Pages of a changed layout until the breaker opens again."""
        load = SteadyLoad(self.pipeline, 10, first_serial=2_000)
        before = len(await breaker_changes(self.client, "extract", EGRESS))
        self.pipeline.standin.switch("layout", for_seconds=4)
        await load.run(4, action="info")
        await self.client.wait_for(list(load.published), 60)
        assert len(await breaker_changes(self.client, "extract", EGRESS)) > before

    async def accounts(self) -> None:
        """Pages that need a login: a rate limited, an ended and a working session."""
        await self.info(*(video_id("members", serial=serial) for serial in range(50, 53)))

    async def dead_letter_and_replay(self) -> None:
        """An undecodable record."""
        await self.pipeline.publish_to(VALIDATED, b"no message")
        async with asyncio.timeout(30):
            while not await self.client.records(DEADLETTERS):
                await self.pipeline.read_results(0.2)
        status, output, errors = await self.pipeline.clipmill("deadletters", "replay", "--all")
        assert status == 0, (output, errors)

    async def full_disk(self) -> None:
        """Files that do not fit on the small disk until others are deleted.

        Those of any two partitions are more than fit on it.
        """
        worker = self.workers[1]
        names = [f"large-{number}" for number in range(28)]
        for number, name in enumerate(names):
            url = page(video_id("size", param=2, serial=number))
            await self.pipeline.publish({"id": name, "url": url})
        await self.client.wait_for_problem(worker, "download")
        # Long enough for a scrape.
        await asyncio.sleep(2)
        async with _files_deleted(worker, self.pipeline.data_dir / "files"):
            await self.client.wait_for(names, 60)

    async def restart(self) -> Process:
        """Kill the second worker and restart it."""
        await asyncio.to_thread(self.workers[1].kill)
        prefix = (*SMALL_DISK, SPACE, str(self.pipeline.data_dir))
        self.workers[1] = await self.pipeline.start_worker("all", prefix=prefix)
        return self.workers[1]


@asynccontextmanager
async def _files_deleted(worker: Process, folder: Path) -> AsyncIterator[None]:
    """Delete finished files, as a downstream consumer does."""

    async def delete() -> None:
        while True:
            for file in worker_path(worker, folder).rglob("*.mp4"):
                file.unlink()
            await asyncio.sleep(0.5)

    task = asyncio.create_task(delete())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
