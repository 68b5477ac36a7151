"""The platform is away: the breaker opens, nobody knocks, everything is done in the end.

Short in CI (shorter outage, shorter open time), in full with ``FULL_LENGTH=1``.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.desk import Desk
from tests.acceptance.outage import (
    KNOWN_SECONDS,
    Change,
    Load,
    Watch,
    breaker_changes,
    dead_letters,
    parked_ids,
    reading_results,
    told,
    transitions,
    trials_granted,
    until_open,
    watching,
)
from tests.acceptance.scale import in_full
from tests.house import House

PER_SECOND = 20
OUTAGE_SECONDS = in_full(60, 14)
OPEN_SECONDS = in_full(30, 4)
CALM_SECONDS = 3.0
CLOSED_SECONDS = 2.0
"""After the open interval, for the trials."""

SETTINGS = {
    "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    "CLIPMILL_BREAKER__OPEN_SECONDS": str(OPEN_SECONDS),
    # The ones that failed before it opened come back soon enough for a test.
    "CLIPMILL_RETRY__WAITS_SECONDS": '{"network.server": [5, 30, 120, 600]}',
}


@pytest.mark.alone
async def test_an_outage_costs_no_request_and_no_attempt(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        await house.start_worker("all")
        await _outage(house, Desk(house), ())


@pytest.mark.alone
async def test_the_same_when_the_breakers_writer_dies_and_a_worker_joins(tmp_path: Path) -> None:
    async with House(tmp_path, **SETTINGS) as house:
        stages = (
            "validation",
            "extraction",
            "selection",
            "download",
            "delay",
            "ledger",
            "commands",
        )
        await house.start_worker(*stages)
        await house.start_worker("recovery", "monitor")
        await _outage(house, Desk(house), ("kill", "join"))


async def _outage(house: House, desk: Desk, strikes: tuple[str, ...]) -> None:
    load = Load(house, PER_SECOND)
    async with reading_results(house):
        async with watching(house) as watch:
            began = time.time()
            await load.run(CALM_SECONDS)
            house.standin.switch("page.503", for_seconds=OUTAGE_SECONDS)
            failing = time.time()
            striking = asyncio.create_task(_strike(house, desk, strikes))
            await load.run(OUTAGE_SECONDS + CALM_SECONDS)
            recovered = failing + OUTAGE_SECONDS
            strokes = await striking
            await desk.wait_for(list(load.published), 4 * OPEN_SECONDS + 60)
            ended = time.time()
        changes = await breaker_changes(desk, "extract", "proxy")
        marks = [(failing, "the platform fails"), (recovered, "the platform is back")]
        print("\n" + told(began, changes, *marks, *strokes, (ended, "everything is done")))
        await _check(Seen(load, watch, changes, recovered), desk)


async def _strike(house: House, desk: Desk, strikes: tuple[str, ...]) -> list[tuple[float, str]]:
    """Kill the breaker's writer while it is open, and let another worker join."""
    strokes: list[tuple[float, str]] = []
    if not strikes:
        return strokes
    await until_open(desk, "extract", "proxy")
    await asyncio.to_thread(house.workers[1].kill)
    strokes.append((time.time(), "kill -9 of recovery and monitor"))
    joining = [house.start_worker("recovery", "monitor"), house.start_worker("extraction")]
    await asyncio.gather(*joining)
    strokes.append((time.time(), "new ones have joined, one for extraction too"))
    return strokes


@dataclass(frozen=True)
class Seen:
    """What an outage left to be judged; ``recovered`` is when the platform was back."""

    load: Load
    watch: Watch
    changes: list[Change]
    recovered: float


async def _check(seen: Seen, desk: Desk) -> None:
    load, watch, changes, recovered = seen.load, seen.watch, seen.changes, seen.recovered
    steps = transitions(changes)
    names = [step.state.state for step in steps]
    assert names[-1] == "closed"
    assert "open" in names
    opened = next(step.at for step in steps if step.state.state == "open")
    closed = steps[-1].at
    results = await desk.house.read_results(0)
    outcomes = {name: results[name][0] for name in load.published}
    assert {each["status"] for each in outcomes.values()} == {"completed"}
    assert await dead_letters(desk) == 0
    knocks = [at for at in watch.requests("page", 503) if opened + KNOWN_SECONDS < at < closed]
    granted = trials_granted(changes)
    print(f"{len(knocks)} requests reached the platform while open, {granted} trials were granted")
    assert len(knocks) <= granted
    parked = await parked_ids(desk)
    held = [name for name, at in load.published.items() if opened + KNOWN_SECONDS < at < closed]
    used = {name: outcomes[name]["attempts"] for name in held if name in parked}
    trials = {trial.partition(":")[0] for step in changes for trial in step.state.trials}
    print(f"{len(parked)} requests were parked, {len(load.published)} published")
    assert {name: count for name, count in used.items() if count != 1 and name not in trials} == {}
    interval = max(
        step.state.until.timestamp() - step.at for step in steps if step.state.until is not None
    )
    late = sorted(each["_seen_at"] - closed for each in outcomes.values())
    shares = {share: late[int(share * (len(late) - 1))] for share in (0.5, 0.9, 0.99, 1.0)}
    print("done after closing:", {share: round(seconds, 1) for share, seconds in shares.items()})
    print(f"closed {closed - recovered:.1f} s after the return; open interval {interval:.1f} s")
    # What was asked before the platform was back may still fail after it.
    later = [step.state.state for step in steps if step.at > recovered + KNOWN_SECONDS]
    assert "open" not in later, "the first trials after its return close the breaker"
    assert closed - recovered <= interval + CLOSED_SECONDS
