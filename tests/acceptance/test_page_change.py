"""The platform changes its pages: several videos tell, work is parked, and all is done later."""

import asyncio
import time
from pathlib import Path

from schemas.errors import ErrorCode
from tests.acceptance.desk import Desk, page
from tests.acceptance.outage import (
    Load,
    breaker_changes,
    dead_letters,
    parked_ids,
    reading_results,
    told,
    transitions,
)
from tests.acceptance.scale import in_full
from tests.house import House
from tests.standin import video_id

WAVE_SECONDS = in_full(60, 10)
OPEN_SECONDS = in_full(15, 3)
SETTINGS = {
    "CLIPMILL_BREAKER__OPEN_SECONDS": str(OPEN_SECONDS),
    "CLIPMILL_RETRY__WAITS_SECONDS": '{"platform.changed": [3, 5]}',
}


async def test_one_strange_page_opens_nothing_and_a_wave_of_them_does(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        await house.start_worker("all")
        desk = Desk(house)
        async with reading_results(house):
            await _one_strange_page(house, desk)
            await _wave(house, desk)


async def _one_strange_page(house: House, desk: Desk) -> None:
    """Asked for again and again; one that stays odd ends with its retries."""
    strange, odd = video_id("layout", times=4, serial=1), video_id("noitem", serial=2)
    await house.publish({"id": "odd", "url": page(odd), "action": "info"})
    for number in range(3):
        await house.publish({"id": f"strange-{number}", "url": page(strange), "action": "info"})
    load = Load(house, per_second=5, first_serial=5_000)
    await load.run(4)
    await desk.wait_for([*load.published, "odd", *(f"strange-{n}" for n in range(3))], 60)
    assert transitions(await breaker_changes(desk, "extract", "proxy")) == []
    results = await house.read_results(0)
    assert {results[name][0]["status"] for name in load.published} == {"completed"}
    first, last = results["strange-0"][0], results["odd"][0]
    assert first["status"] == "completed"
    assert {each["code"] for each in first["recovery"]} == {"platform.changed"}
    assert (last["status"], last["error"]["error_type"]) == ("failed", "platform.changed")
    assert (last["attempts"], last.get("parked")) == (3, None)


async def _wave(house: House, desk: Desk) -> None:
    load = Load(house, per_second=8)
    began = time.time()
    house.standin.switch("layout", for_seconds=WAVE_SECONDS)
    await load.run(WAVE_SECONDS + 3)
    await desk.wait_for(list(load.published), 60 + 4 * OPEN_SECONDS)
    await asyncio.sleep(1)
    changes = await breaker_changes(desk, "extract", "proxy")
    print("\n" + told(began, changes, (began + WAVE_SECONDS, "pages are as before")))
    opened = next(each for each in changes if each.state.state == "open")
    assert opened.state.reason is ErrorCode.PLATFORM_CHANGED
    assert transitions(changes)[-1].state.state == "closed"
    results = await house.read_results(0)
    assert {results[name][0]["status"] for name in load.published} == {"completed"}
    # Those that failed before the breaker was open have used up one retry.
    assert {results[name][0]["attempts"] for name in load.published} <= {1, 2}
    assert await parked_ids(desk) & load.published.keys()
    assert await dead_letters(desk) == 0
