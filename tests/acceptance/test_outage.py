"""Platform outage: the breaker opens, only trial calls are made, and all requests complete.

Short in CI (shorter outage, shorter open time), in full with ``FULL_LENGTH=1``.
"""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.acceptance.client import PipelineClient
from tests.acceptance.outage import (
    KNOWN_SECONDS,
    ObservedRequests,
    StateChange,
    SteadyLoad,
    breaker_changes,
    dead_letter_count,
    observed_requests,
    outage_timeline,
    parked_ids,
    reading_results,
    transitions,
    trial_calls_granted,
    wait_until_open,
)
from tests.acceptance.scale import full_or_short
from tests.pipeline_process import PipelineProcess

PER_SECOND = 20
OUTAGE_SECONDS = full_or_short(60, 14)
OPEN_SECONDS = full_or_short(30, 4)
CALM_SECONDS = 3.0
CLOSED_SECONDS = 2.0
"""Time for the trial calls after the open interval."""

SETTINGS = {
    "CLIPMILL_KAFKA__SESSION_TIMEOUT_SECONDS": "6",
    "CLIPMILL_BREAKER__OPEN_SECONDS": str(OPEN_SECONDS),
    # Requests that failed before the breaker opened are retried soon enough for a test.
    "CLIPMILL_RETRY__WAITS_SECONDS": '{"network.server": [5, 30, 120, 600]}',
}


@pytest.mark.alone
async def test_outage_fails_no_request_and_consumes_no_attempt(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        await pipeline.start_worker("all")
        await _run_outage(pipeline, PipelineClient(pipeline), ())


@pytest.mark.alone
async def test_outage_with_killed_breaker_writer_and_rebalance_fails_no_request(
    tmp_path: Path,
) -> None:
    async with PipelineProcess(tmp_path, **SETTINGS) as pipeline:
        stages = (
            "validation",
            "extraction",
            "selection",
            "download",
            "delay",
            "ledger",
            "commands",
        )
        await pipeline.start_worker(*stages)
        await pipeline.start_worker("recovery", "monitor")
        await _run_outage(pipeline, PipelineClient(pipeline), ("kill", "join"))


async def _run_outage(
    pipeline: PipelineProcess, client: PipelineClient, faults: tuple[str, ...]
) -> None:
    load = SteadyLoad(pipeline, PER_SECOND)
    async with reading_results(pipeline):
        async with observed_requests(pipeline) as observed:
            began = time.time()
            await load.run(CALM_SECONDS)
            pipeline.standin.switch("page.503", for_seconds=OUTAGE_SECONDS)
            failing = time.time()
            injecting = asyncio.create_task(_inject_faults(pipeline, client, faults))
            await load.run(OUTAGE_SECONDS + CALM_SECONDS)
            recovered = failing + OUTAGE_SECONDS
            events = await injecting
            await client.wait_for(list(load.published), 4 * OPEN_SECONDS + 60)
            ended = time.time()
        changes = await breaker_changes(client, "extract", "proxy")
        marks = [(failing, "the platform fails"), (recovered, "the platform is back")]
        print(
            "\n" + outage_timeline(began, changes, *marks, *events, (ended, "everything is done"))
        )
        await _check(OutageObservations(load, observed, changes, recovered), client)


async def _inject_faults(
    pipeline: PipelineProcess, client: PipelineClient, faults: tuple[str, ...]
) -> list[tuple[float, str]]:
    """Kill the worker that writes the open breaker's state, and let others join."""
    events: list[tuple[float, str]] = []
    if not faults:
        return events
    await wait_until_open(client, "extract", "proxy")
    await asyncio.to_thread(pipeline.workers[1].kill)
    events.append((time.time(), "kill -9 of recovery and monitor"))
    joining = [pipeline.start_worker("recovery", "monitor"), pipeline.start_worker("extraction")]
    await asyncio.gather(*joining)
    events.append((time.time(), "new ones have joined, one for extraction too"))
    return events


@dataclass(frozen=True)
class OutageObservations:
    """Observations of an outage; ``recovered`` is the end of the outage, epoch seconds."""

    load: SteadyLoad
    observed: ObservedRequests
    changes: list[StateChange]
    recovered: float


async def _check(observations: OutageObservations, client: PipelineClient) -> None:
    load, observed, changes, recovered = (
        observations.load,
        observations.observed,
        observations.changes,
        observations.recovered,
    )
    state_changes = transitions(changes)
    names = [change.state.state for change in state_changes]
    assert names[-1] == "closed"
    assert "open" in names
    opened = next(change.at for change in state_changes if change.state.state == "open")
    closed = state_changes[-1].at
    results = await client.pipeline.read_results(0)
    outcomes = {name: results[name][0] for name in load.published}
    assert {each["status"] for each in outcomes.values()} == {"completed"}
    assert await dead_letter_count(client) == 0
    reached = [at for at in observed.requests("page", 503) if opened + KNOWN_SECONDS < at < closed]
    granted = trial_calls_granted(changes)
    print(f"{len(reached)} requests reached the platform while open, {granted} trials were granted")
    assert len(reached) <= granted
    parked = await parked_ids(client)
    published_while_open = [
        name for name, at in load.published.items() if opened + KNOWN_SECONDS < at < closed
    ]
    attempts = {name: outcomes[name]["attempts"] for name in published_while_open if name in parked}
    trials = {trial.partition(":")[0] for change in changes for trial in change.state.trials}
    print(f"{len(parked)} requests were parked, {len(load.published)} published")
    assert {
        name: count for name, count in attempts.items() if count != 1 and name not in trials
    } == {}
    interval = max(
        change.state.until.timestamp() - change.at
        for change in state_changes
        if change.state.until is not None
    )
    late = sorted(each["_seen_at"] - closed for each in outcomes.values())
    shares = {share: late[int(share * (len(late) - 1))] for share in (0.5, 0.9, 0.99, 1.0)}
    print("done after closing:", {share: round(seconds, 1) for share, seconds in shares.items()})
    print(f"closed {closed - recovered:.1f} s after the return; open interval {interval:.1f} s")
    # A request sent before the end of the outage may still fail after it.
    later = [
        change.state.state for change in state_changes if change.at > recovered + KNOWN_SECONDS
    ]
    assert "open" not in later, "the first trial calls after the outage close the breaker"
    assert closed - recovered <= interval + CLOSED_SECONDS
