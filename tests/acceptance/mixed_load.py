"""Two workers under a load in which everything that the boards show happens at least once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from streams.topics import DEADLETTERS, VALIDATED
from tests.acceptance.desk import Desk, page
from tests.acceptance.outage import Load, breaker_changes, until_open
from tests.acceptance.test_storage_away import SMALL_DISK, inside
from tests.house import House, Process
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
    """Asks a house for everything; ``workers`` are the two, the second has a small disk."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.desk = Desk(house)
        self.workers: list[Process] = []

    async def start(self) -> None:
        """Start both workers."""
        accounts = self.house.directory / "accounts"
        accounts.mkdir()
        session_cookies_file(accounts / "a-limited.txt", LIMITED)
        session_cookies_file(accounts / "b-ended.txt", ENDED)
        session_cookies_file(accounts / "c-living.txt", living_session())
        self.house.variables["CLIPMILL_AUTH__COOKIE_FILES"] = json.dumps({"tiktok": str(accounts)})
        self.house.data_dir.mkdir(exist_ok=True)
        others = {"CLIPMILL_DATA_DIR": str(self.house.directory / "others")}
        prefix = (*SMALL_DISK, SPACE, str(self.house.data_dir))
        self.workers = [
            *await asyncio.gather(
                self.house.start_worker("all", **others),
                self.house.start_worker("all", prefix=prefix),
            )
        ]

    async def run(self) -> None:
        """Let everything happen, one after the other."""
        for part in (
            self.hits_and_misses,
            self.requests_of_all_kinds,
            self.endings,
            self.refused_rates,
            self.outage,
            self.page_change,
            self.accounts,
            self.dead_letter_and_replay,
            self.full_disk,
        ):
            await part()

    async def info(self, *videos: str, **fields: Any) -> list[dict[str, Any]]:
        """Ask for what pages say."""
        asks = [self.desk.ask(page(each), action="info", **fields) for each in videos]
        return await asyncio.gather(*asks)

    async def hits_and_misses(self) -> None:
        """Pages and files that are new, then known."""
        videos = [video_id("kilobytes", param=16, serial=serial) for serial in range(8)]
        for _ in range(3):
            await self.info(*videos)
            await asyncio.gather(*(self.desk.ask(page(each)) for each in videos))
        await self.info(*(video_id("deleted", serial=9),) * 2)

    async def requests_of_all_kinds(self) -> None:
        """A challenge, a batch, a listing, a command, an id that is used again."""
        await self.info(video_id("challenge.any", serial=20))
        members = [page(video_id(serial=serial)) for serial in range(30, 34)]
        await self.house.publish({"id": "batch", "urls": members, "action": "info"})
        await self.desk.summary("batch")
        await self.desk.ask(members[0], id="once", action="info")
        await self.house.publish({"id": "once", "url": members[1], "action": "info"})
        await self.desk.ask("https://example.com/no-video")
        await self.house.command(command="refresh", video=f"tiktok:{video_id(serial=30)}")
        await self.house.command(command="retry", request_id="once")

    async def endings(self) -> None:
        """A cancelled download, an expired request."""
        slow = video_id("media.takes", param=60, serial=40)
        await self.house.publish({"id": "cancelled", "url": page(slow)})
        await asyncio.sleep(1)
        await self.house.command(command="cancel", request_id="cancelled")
        await self.desk.outcome("cancelled")
        soon = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
        await self.desk.ask(page(video_id("page.hang", serial=41)), deadline=soon)

    async def refused_rates(self) -> None:
        """More pages than the platform admits, for some seconds."""
        self.house.standin.limit(4)
        await self.info(*(video_id(serial=serial) for serial in range(100, 130)), seconds=60)
        self.house.standin.limit()

    async def outage(self) -> None:
        """The platform is away until the breaker opens; what is parked comes back."""
        load = Load(self.house, 20, first_serial=1_000)
        self.house.standin.switch("page.503")
        failing = asyncio.create_task(load.run(4, action="info"))
        await until_open(self.desk, "extract", EGRESS)
        await failing
        self.house.standin.clear()
        await self.desk.wait_for(list(load.published), 60)

    async def page_change(self) -> None:
        """Pages of another layout until the breaker opens again."""
        load = Load(self.house, 10, first_serial=2_000)
        before = len(await breaker_changes(self.desk, "extract", EGRESS))
        self.house.standin.switch("layout", for_seconds=4)
        await load.run(4, action="info")
        await self.desk.wait_for(list(load.published), 60)
        assert len(await breaker_changes(self.desk, "extract", EGRESS)) > before

    async def accounts(self) -> None:
        """Pages for members: one account is limited, one has ended, one works."""
        await self.info(*(video_id("members", serial=serial) for serial in range(50, 53)))

    async def dead_letter_and_replay(self) -> None:
        """A record that is no message."""
        await self.house.publish_to(VALIDATED, b"no message")
        async with asyncio.timeout(30):
            while not await self.desk.records(DEADLETTERS):
                await self.house.read_results(0.2)
        status, shown, complaint = await self.house.clipmill("deadletters", "replay")
        assert status == 0, (shown, complaint)

    async def full_disk(self) -> None:
        """Files that do not fit on the small disk until some are taken away."""
        worker = self.workers[1]
        names = [f"large-{number}" for number in range(16)]
        for number, name in enumerate(names):
            url = page(video_id("size", param=2, serial=number))
            await self.house.publish({"id": name, "url": url})
        await self.desk.problem(worker, "download")
        # Long enough for a scrape.
        await asyncio.sleep(2)
        async with _emptied(worker, self.house.data_dir / "files"):
            await self.desk.wait_for(names, 60)

    async def restart(self) -> Process:
        """Kill the second worker and start it anew."""
        await asyncio.to_thread(self.workers[1].kill)
        prefix = (*SMALL_DISK, SPACE, str(self.house.data_dir))
        self.workers[1] = await self.house.start_worker("all", prefix=prefix)
        return self.workers[1]


@asynccontextmanager
async def _emptied(worker: Process, folder: Path) -> AsyncIterator[None]:
    """Take finished files away, as whoever works on with them does."""

    async def empty() -> None:
        while True:
            for file in inside(worker, folder).rglob("*.mp4"):
                file.unlink()
            await asyncio.sleep(0.5)

    task = asyncio.create_task(empty())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
