"""A platform outage under steady load: the load, and the observed requests and breaker states."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from schemas.codec import decode
from schemas.signals import BREAKER, BreakerState
from streams.topics import ATTEMPTS, AUDIT, DEADLETTERS, SIGNALS
from tests.acceptance.client import Message, PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

POLL_SECONDS = 0.25
KNOWN_SECONDS = 1.0
"""Every worker has read a breaker's state within this time."""


@dataclass(frozen=True)
class StateChange:
    """A published state of a breaker, at an epoch second."""

    at: float
    state: BreakerState


@dataclass
class ObservedRequests:
    """Requests that the stand-in received: time, kind and video, with the status of the answer."""

    seen: dict[tuple[float, str, str], int] = field(default_factory=dict)

    def requests(self, kind: str, status: int | None = None) -> list[float]:
        """Return the times of requests of a kind (and status), in order."""
        return sorted(
            at
            for (at, event_kind, _), answer in self.seen.items()
            if event_kind == kind and status in {None, answer}
        )


@asynccontextmanager
async def observed_requests(pipeline: PipelineProcess) -> AsyncIterator[ObservedRequests]:
    """Poll the stand-in's events, of which it serves only the latest thousand."""
    observed = ObservedRequests()

    async def poll() -> None:
        while True:
            for event in (await asyncio.to_thread(pipeline.standin.counters))["events"]:
                name = (event["at"], event["kind"], event["video_id"])
                observed.seen[name] = event["status"]
            await asyncio.sleep(POLL_SECONDS)

    task = asyncio.create_task(poll())
    try:
        yield observed
        await asyncio.sleep(2 * POLL_SECONDS)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def reading_results(pipeline: PipelineProcess) -> AsyncIterator[None]:
    """Read results continuously, so that their arrival times are recorded."""

    async def read() -> None:
        while True:
            await pipeline.read_results(0.2)

    task = asyncio.create_task(read())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@dataclass
class SteadyLoad:
    """Publishes requests at a steady rate, each for a different video."""

    pipeline: PipelineProcess
    per_second: float
    scenario: str = "kilobytes"
    param: int = 16
    first_serial: int = 0
    published: dict[str, float] = field(default_factory=dict)

    async def run(self, seconds: float, **fields: Any) -> None:
        began, count = time.time(), 0
        while time.time() < began + seconds:
            serial = self.first_serial + len(self.published)
            request_id = f"load-{serial}"
            url = page(video_id(self.scenario, param=self.param, serial=serial))
            self.published[request_id] = time.time()
            await self.pipeline.publish({"id": request_id, "url": url, **fields})
            count += 1
            await asyncio.sleep(max(0.0, began + count / self.per_second - time.time()))


async def breaker_changes(client: PipelineClient, operation: str, egress: str) -> list[StateChange]:
    """Return the published states of a breaker, one for each record."""
    changes: list[StateChange] = []
    for record in await client.records(SIGNALS):
        key = (record.key or b"").decode()
        if record.value is None or not key.startswith(BREAKER):
            continue
        state = decode(record.value, BreakerState)
        if (state.operation, state.egress) == (operation, egress):
            changes.append(StateChange(record.timestamp / 1000, state))
    return changes


def transitions(changes: list[StateChange]) -> list[StateChange]:
    """Return the changes in which the breaker changed its state."""
    found: list[StateChange] = []
    for change in changes:
        if not found or change.state.state != found[-1].state.state:
            found.append(change)
    return found


def trial_calls_granted(changes: list[StateChange]) -> int:
    """Return how many trial calls were granted in all half-open phases."""
    granted = {
        (change.state.openings, trial) for change in changes for trial in change.state.trials
    }
    return len(granted)


async def wait_until_open(client: PipelineClient, operation: str, egress: str) -> None:
    while True:
        changes = await breaker_changes(client, operation, egress)
        if any(each.state.state == "open" for each in changes):
            return
        await asyncio.sleep(POLL_SECONDS)


async def dead_letter_count(client: PipelineClient) -> int:
    return len(await client.records(DEADLETTERS))


async def reported_attempts(client: PipelineClient, **fields: Any) -> list[Message]:
    """Return the reported network attempts."""
    return await client.messages(ATTEMPTS, kind="attempt", **fields)


async def parked_ids(client: PipelineClient) -> set[str]:
    """Return the ids of requests that were parked at least once."""
    return {each["request_id"] for each in await client.messages(AUDIT, transition="parked")}


def outage_timeline(began: float, changes: list[StateChange], *marks: tuple[float, str]) -> str:
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
