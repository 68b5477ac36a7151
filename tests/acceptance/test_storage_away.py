"""The disk is full, or the storage is gone: work waits, nothing is lost, no attempt is used.

When the storage works again, work goes on at once: the retries would wait for ten minutes.

The download worker has a small file system of its own, in a mount namespace.
"""

import asyncio
from pathlib import Path

from streams.topics import DEADLETTERS
from tests.acceptance.desk import Desk, page
from tests.house import House, Process
from tests.standin import video_id

FILES = 30
MEBIBYTES = 2
SPACE = "24m"
SETTINGS = {
    "CLIPMILL_DOWNLOAD__FREE_BYTES": str(2**20),
    "CLIPMILL_DOWNLOAD__STORAGE_CHECK_SECONDS": "0.5",
}
OTHERS = (
    "validation",
    "extraction",
    "selection",
    "recovery",
    "delay",
    "ledger",
    "monitor",
    "commands",
)
SMALL_DISK = (
    "unshare",
    "-rm",
    "sh",
    "-c",
    'mount -t tmpfs -o size=$0 none "$1" && shift && exec "$@"',
)


async def small_house(house: House) -> Process:
    """Start all stages; return the worker of downloads, which has a small disk."""
    house.data_dir.mkdir(exist_ok=True)
    other = {"CLIPMILL_DATA_DIR": str(house.directory / "others")}
    prefix = (*SMALL_DISK, SPACE, str(house.data_dir))
    _, worker = await asyncio.gather(
        house.start_worker(*OTHERS, **other), house.start_worker("download", prefix=prefix)
    )
    return worker


def inside(worker: Process, path: Path) -> Path:
    """Return a path as the worker sees it."""
    return Path(f"/proc/{worker.pid}/root{path}")


async def test_a_full_disk_stops_the_downloads_until_there_is_room(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        desk, worker = Desk(house), await small_house(house)
        names = [f"r-{number}" for number in range(FILES)]
        for number, name in enumerate(names):
            url = page(video_id("size", param=MEBIBYTES, serial=number))
            await house.publish({"id": name, "url": url})
        problem = await desk.problem(worker, "download")
        print(f"\nhealth says: {problem}")
        assert "space" in problem or "disk" in problem
        collected = asyncio.create_task(_collect_files(worker, house.data_dir / "files"))
        try:
            await desk.wait_for(names, 90)
        finally:
            collected.cancel()
        await _check(desk, names)


async def _collect_files(worker: Process, folder: Path) -> None:
    """Take finished files away, as whoever works on with them does."""
    while True:
        await asyncio.sleep(1)
        for file in inside(worker, folder).rglob("*.mp4"):
            file.unlink()


async def test_a_storage_that_goes_away_and_comes_back_loses_nothing(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        desk, worker = Desk(house), await small_house(house)
        assert (await desk.ask(page(video_id("kilobytes", serial=1))))["status"] == "completed"
        files = inside(worker, house.data_dir / "files")
        away = files.with_name("files.away")
        files.rename(away)
        files.write_text("not a folder")
        names = [f"r-{number}" for number in range(10)]
        for number, name in enumerate(names):
            url = page(video_id("kilobytes", serial=100 + number))
            await house.publish({"id": name, "url": url})
        print(f"\nhealth says: {await desk.problem(worker, 'download')}")
        files.unlink()
        away.rename(files)
        await desk.wait_for(names, 60)
        await _check(desk, names)


async def _check(desk: Desk, names: list[str]) -> None:
    results = await desk.house.read_results(0)
    assert {results[name][0]["status"] for name in names} == {"completed"}
    assert {results[name][0]["attempts"] for name in names} == {1}
    assert await desk.records(DEADLETTERS) == []
