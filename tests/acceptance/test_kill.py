"""kill -9 anywhere loses nothing, and nothing has a second outcome."""

import asyncio
import os
import random
import time
from pathlib import Path

from tests.acceptance.chaos import Chaos, publish_within, until_answered, watch_results
from tests.acceptance.end_state import (
    check_files,
    check_outcomes,
    check_scratch,
    check_summaries,
    expected_statuses,
    outcomes,
    until_committed,
)
from tests.acceptance.workload import Asked, workload
from tests.house import House

STRIKES = {"worker": 10, "engine": 5, "broker": 2, "stop": 3}
PAUSE_SECONDS = (2.0, 12.0)
DRAIN_SECONDS = 150.0
COMMIT_SECONDS = 60.0
SESSION = {"CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6"}


async def test_nothing_is_lost_or_decided_twice_when_everything_is_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("KILL_SEED", time.time_ns() % 1_000_000))
    print(f"\nseed {seed} (set KILL_SEED to repeat it)")
    chance = random.Random(seed)
    asked = workload(chance)
    async with House(tmp_path, **SESSION) as house:
        chaos = Chaos(house, chance, "all")
        watching = asyncio.create_task(watch_results(house, chaos.timeline))
        try:
            await _strike_and_publish(house, chaos, asked, chance)
            await house.broker_is_back()
            expected = await expected_statuses(house.bootstrap, asked)
            await until_answered(chaos.timeline, expected.keys(), DRAIN_SECONDS)
            chaos.timeline.note("all answered")
            await until_committed(house, COMMIT_SECONDS)
            chaos.timeline.note("all committed")
            await chaos.strike("stop")
            check_scratch(house.data_dir, [(await chaos.ready()).pid])
            await chaos.strike("stop")
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            print("\n".join(chaos.timeline.lines()))
        found, summaries = await outcomes(house.bootstrap)
        check_outcomes(found, expected)
        check_summaries(summaries, expected)
        files = check_files(house.data_dir, found)
        copies = sum(map(len, found.values())) - len(found)
        print(f"{len(found)} outcomes, {copies} copies, {files} files")
    for what, times in STRIKES.items():
        assert chaos.timeline.count(what) >= times


async def _strike_and_publish(
    house: House, chaos: Chaos, asked: list[Asked], chance: random.Random
) -> None:
    strikes = [what for what, times in STRIKES.items() for _ in range(times)]
    chance.shuffle(strikes)
    for number, what in enumerate(strikes):
        seconds = chance.uniform(*PAUSE_SECONDS)
        now = asked[number :: len(strikes)]
        await asyncio.gather(publish_within(house, now, seconds, chance), asyncio.sleep(seconds))
        await chaos.strike(what)
