"""One address is blocked: its breaker opens, the work moves to the other address."""

import time
from datetime import datetime
from pathlib import Path

from schemas.errors import ErrorCode
from tests.acceptance.desk import Desk, page
from tests.acceptance.outage import (
    KNOWN_SECONDS,
    Load,
    attempts_of,
    breaker_changes,
    dead_letters,
    reading_results,
    told,
    trials_granted,
)
from tests.acceptance.scale import in_full
from tests.house import House
from tests.standin import video_id

SECONDS = in_full(30, 10)
SETTINGS = {"CLIPMILL_BREAKER__OPEN_SECONDS": "5"}


async def test_work_moves_to_the_egress_that_is_not_blocked(tmp_path: Path) -> None:
    async with House(tmp_path, egresses=("a", "b"), **SETTINGS) as house:
        await house.start_worker("all")
        desk = Desk(house)
        async with reading_results(house):
            for number, scenario in enumerate(("blocked", "page.403")):
                await _block(house, desk, scenario, first_serial=1_000 * number)
            await _one_deleted_video(desk)


async def _block(house: House, desk: Desk, scenario: str, *, first_serial: int) -> None:
    load = Load(house, per_second=10, first_serial=first_serial)
    began = time.time()
    await load.run(2)
    house.standin.switch(scenario, egress="a")
    blocked = time.time()
    await load.run(SECONDS)
    house.standin.clear()
    await desk.wait_for(list(load.published), 60)
    changes = [each for each in await breaker_changes(desk, "extract", "a") if each.at >= began]
    print("\n" + told(began, changes, (blocked, f"a: {scenario}")))
    opened = next(each for each in changes if each.state.state == "open")
    assert opened.state.reason is ErrorCode.RATE_LIMIT_IP_BLOCK
    other = await breaker_changes(desk, "extract", "b")
    assert {each.state.state for each in other} <= {"closed"}
    results = await house.read_results(0)
    outcomes = {name: results[name][0] for name in load.published}
    assert {each["status"] for each in outcomes.values()} == {"completed"}
    moved = [
        attempt
        for each in outcomes.values()
        for attempt in each["recovery"]
        if attempt["strategy"] == "other_egress"
    ]
    assert moved
    assert all(attempt["egress"] == "a" for attempt in moved)
    assert await dead_letters(desk) == 0
    await _check_that_a_is_left_alone(desk, opened.at, began + SECONDS, trials_granted(changes))


async def _check_that_a_is_left_alone(desk: Desk, opened: float, until: float, trials: int) -> None:
    """Once its breaker is open, nothing goes by way of it but trials."""
    made = [
        each
        for each in await attempts_of(desk, operation="extract", egress="a")
        if opened + KNOWN_SECONDS < _moment(each["at"]) < until
    ]
    assert len(made) <= trials
    assert all(each.get("trial") for each in made)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def _one_deleted_video(desk: Desk) -> None:
    """10204 too, but with TikTok's reason in words."""
    outcome = await desk.ask(page(video_id("deleted", serial=77)))
    assert outcome["error"]["error_type"] == "content.not_found"
    assert outcome["attempts"] == 1
