"""A platform that fails for a while under steady load, and everything that can be seen of it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from schemas.codec import decode
from schemas.signals import BREAKER, BreakerState
from streams.topics import ATTEMPTS, AUDIT, DEADLETTERS, SIGNALS
from tests.acceptance.desk import Desk, Message, page
from tests.house import House
from tests.standin import video_id

POLL_SECONDS = 0.25
KNOWN_SECONDS = 1.0
"""Every worker knows the state of a breaker within this time."""


@dataclass(frozen=True)
class Change:
    """A breaker took on a state, at an epoch second."""

    at: float
    state: BreakerState


@dataclass
class Watch:
    """What the stand-in was asked, with the answer, as it happened."""

    seen: dict[tuple[float, str, str], int] = field(default_factory=dict)

    def requests(self, kind: str, status: int | None = None) -> list[float]:
        """Return when requests of a kind (that were answered so) came, in order."""
        return sorted(
            at
            for (at, what, _), answer in self.seen.items()
            if what == kind and status in {None, answer}
        )


@asynccontextmanager
async def watching(house: House) -> AsyncIterator[Watch]:
    """Collect the stand-in's events; it keeps only the latest thousand for readers."""
    watch = Watch()

    async def poll() -> None:
        while True:
            for event in (await asyncio.to_thread(house.standin.counters))["events"]:
                name = (event["at"], event["kind"], event["video_id"])
                watch.seen[name] = event["status"]
            await asyncio.sleep(POLL_SECONDS)

    task = asyncio.create_task(poll())
    try:
        yield watch
        await asyncio.sleep(2 * POLL_SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def reading_results(house: House) -> AsyncIterator[None]:
    """Read results as they come, so that the moment of each is known."""

    async def read() -> None:
        while True:
            await house.read_results(0.2)

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class Load:
    """Requests at a steady rate, each for a video of its own."""

    house: House
    per_second: float
    scenario: str = "kilobytes"
    param: int = 16
    first_serial: int = 0
    published: dict[str, float] = field(default_factory=dict)

    async def run(self, seconds: float, **fields: Any) -> None:
        """Publish for so long."""
        began, count = time.time(), 0
        while time.time() < began + seconds:
            serial = self.first_serial + len(self.published)
            request_id = f"load-{serial}"
            url = page(video_id(self.scenario, param=self.param, serial=serial))
            self.published[request_id] = time.time()
            await self.house.publish({"id": request_id, "url": url, **fields})
            count += 1
            await asyncio.sleep(max(0.0, began + count / self.per_second - time.time()))


async def breaker_changes(desk: Desk, operation: str, egress: str) -> list[Change]:
    """Return the states that a breaker went through; growing trials are no new state."""
    changes: list[Change] = []
    for record in await desk.records(SIGNALS):
        key = (record.key or b"").decode()
        if record.value is None or not key.startswith(BREAKER):
            continue
        state = decode(record.value, BreakerState)
        if (state.operation, state.egress) == (operation, egress):
            changes.append(Change(record.timestamp / 1000, state))
    return changes


def transitions(changes: list[Change]) -> list[Change]:
    """Return the first record of each state."""
    found: list[Change] = []
    for change in changes:
        if not found or change.state.state != found[-1].state.state:
            found.append(change)
    return found


def trials_granted(changes: list[Change]) -> int:
    """Return how many trials were granted in all half-open phases."""
    granted = {
        (change.state.openings, trial) for change in changes for trial in change.state.trials
    }
    return len(granted)


async def until_open(desk: Desk, operation: str, egress: str) -> None:
    """Return when a breaker is open."""
    while True:
        changes = await breaker_changes(desk, operation, egress)
        if any(each.state.state == "open" for each in changes):
            return
        await asyncio.sleep(POLL_SECONDS)


async def dead_letters(desk: Desk) -> int:
    """Return how many dead letters there are."""
    return len(await desk.records(DEADLETTERS))


async def attempts_of(desk: Desk, **fields: Any) -> list[Message]:
    """Return the network attempts that were reported."""
    return await desk.messages(ATTEMPTS, kind="attempt", **fields)


async def parked_ids(desk: Desk) -> set[str]:
    """Return the requests that were parked at least once."""
    return {each["request_id"] for each in await desk.messages(AUDIT, transition="parked")}


def told(began: float, changes: list[Change], *marks: tuple[float, str]) -> str:
    """Return the timeline of an outage."""
    lines = [(at, text) for at, text in marks]
    for change in transitions(changes):
        state = change.state
        wait = (
            f", first trial after {(state.until.timestamp() - change.at):.1f} s"
            if state.until
            else ""
        )
        lines.append((change.at, f"breaker {state.state} ({state.reason or 'well'}{wait})"))
    return "\n".join(f"{at - began:7.2f} s  {text}" for at, text in sorted(lines))
