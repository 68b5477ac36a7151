"""Dead letters: kept byte for byte, replayed at a rate, parked when they fail again, limited."""

import asyncio
import json
from pathlib import Path
from typing import Any

import psutil
import trustme

from streams.topics import DEADLETTERS, VALIDATED
from tests.acceptance.desk import Desk, page
from tests.house import CLIPMILL, House, Process
from tests.standin import video_id

COUNT = 500
PER_SECOND = 100
SETTINGS = {"CLIPMILL_DEADLETTERS__LIMIT": "100000", "CLIPMILL_BREAKER__MINIMUM_CALLS": "100000"}


def no_trust(tmp_path: Path) -> dict[str, str]:
    """Return settings with which every page fails, by a fault of the set-up: another root."""
    file = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return {"CLIPMILL_EGRESS__CA_FILE": str(file)}


async def test_five_hundred_are_replayed_once_each_whatever_interrupts(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        desk = Desk(house)
        worker = await house.start_worker("all", **no_trust(tmp_path))
        videos = {f"r-{number}": video_id(serial=number) for number in range(COUNT)}
        for name, video in videos.items():
            await house.publish({"id": name, "url": page(video), "action": "info"})
        await desk.wait_for(list(videos), 90)
        letters = await desk.records(DEADLETTERS)
        assert len(letters) == COUNT
        await asyncio.to_thread(worker.terminate)
        await house.start_worker("all")
        await _interrupted_replay(house, replayed=COUNT // 5)
        status, shown, complaint = await house.clipmill(
            "deadletters", "replay", "--code", "system.config", "--rate", str(PER_SECOND)
        )
        assert status == 0, (shown, complaint)
        print("\n" + shown)
        replays = [f"{name}/replay-1" for name in videos]
        await desk.wait_for(replays, 90)
        results = await house.read_results(0)
        assert {results[name][0]["status"] for name in replays} == {"completed"}
        assert {results[name][0]["retry_of"] for name in replays} == videos.keys()
        pages = {video: desk.counts(video).get("page") for video in videos.values()}
        assert set(pages.values()) == {1}, "a letter was replayed twice"
        await _check_bytes(desk, letters)


async def _interrupted_replay(house: House, replayed: int) -> None:
    """Start a replay and kill it in the middle."""
    command = [CLIPMILL, "deadletters", "replay", "--code", "system.config"]
    command += ["--rate", str(PER_SECOND), "--bootstrap", house.bootstrap]
    replay = Process(command, house.variables, house.directory / "replay.log")
    desk = Desk(house)
    while len(await _replayed(desk)) < replayed:
        assert psutil.pid_exists(replay.pid)
        await asyncio.sleep(0.1)
    replay.kill()
    assert len(await _replayed(desk)) < COUNT


async def _replayed(desk: Desk) -> list[Any]:
    records = await desk.records(VALIDATED)
    return [each for each in records if "clipmill_replays" in dict(each.headers)]


async def _check_bytes(desk: Desk, letters: list[Any]) -> None:
    """Key, value and headers are those of the first time, but for what says that it is a replay."""
    records = await desk.records(VALIDATED)
    first = {each.value: each for each in records if "clipmill_replays" not in dict(each.headers)}
    again = [each for each in records if "clipmill_replays" in dict(each.headers)]
    assert len(again) == len(letters)
    for each in again:
        original = first[each.value]
        assert each.key == original.key
        kept = [header for header in each.headers if not header[0].startswith("clipmill_replay")]
        assert kept == list(original.headers)


async def test_what_fails_again_is_parked_and_can_be_resolved(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        desk = Desk(house)
        await house.start_worker("all", **no_trust(tmp_path))
        await house.publish({"id": "x", "url": page(video_id(serial=1)), "action": "info"})
        await desk.outcome("x")
        assert [each["state"] for each in await _list(house)] == ["waiting"]
        assert (await house.clipmill("deadletters", "replay"))[0] == 0
        assert (await desk.outcome("x/replay-1"))["status"] == "failed"
        states = sorted(each["state"] for each in await _list(house))
        assert states == ["parked", "replayed"]
        await house.clipmill("deadletters", "replay")
        assert len(await desk.records(DEADLETTERS)) == 2
        [parked] = [each["id"] for each in await _list(house) if each["state"] == "parked"]
        _, shown, _ = await house.clipmill("deadletters", "show", parked)
        assert "system.config" in shown
        assert (await house.clipmill("deadletters", "resolve", parked, "--note", "known"))[0] == 0
        states = sorted(each["state"] for each in await _list(house))
        assert states == ["replayed", "resolved"]


async def _list(house: House) -> list[dict[str, Any]]:
    status, shown, complaint = await house.clipmill("deadletters", "list", "--json")
    assert status == 0, complaint
    return [json.loads(line) for line in shown.splitlines()]


async def test_too_many_of_them_stop_the_intake_until_someone_looks(tmp_path: Path) -> None:
    limited = {**SETTINGS, "CLIPMILL_DEADLETTERS__LIMIT": "20"}
    async with House(tmp_path, **limited) as house:
        desk = Desk(house)
        worker = await house.start_worker("all", **no_trust(tmp_path))
        for number in range(200):
            url = page(video_id(serial=number))
            await house.publish({"id": f"r-{number}", "url": url, "action": "info"})
            await asyncio.sleep(0.02)
        problem = await desk.problem(worker, "extraction")
        assert "clipmill resume extraction" in problem
        stopped = len(await desk.records(DEADLETTERS))
        assert stopped < 200
        await asyncio.to_thread(worker.terminate)
        worker = house.spawn_worker("all")
        for _ in range(20):
            await house.read_results(0.1)
        before = len(await house.read_results(0))
        for _ in range(50):
            await house.read_results(0.1)
        assert len(await house.read_results(0)) == before, "a new worker knows that it is stopped"
        assert (await house.clipmill("resume", "extraction"))[0] == 0
        await worker.wait_ready()
        await desk.wait_for([f"r-{number}" for number in range(200)], 60)
        print(f"\nstopped after {stopped} dead letters; went on when told to")
