"""One egress is blocked: its breaker opens, and requests move to the other egress."""

import time
from datetime import datetime
from pathlib import Path

from schemas.errors import ErrorCode
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.outage import (
    KNOWN_SECONDS,
    SteadyLoad,
    breaker_changes,
    dead_letter_count,
    outage_timeline,
    reading_results,
    reported_attempts,
    trial_calls_granted,
)
from tests.acceptance.scale import full_or_short
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

SECONDS = full_or_short(30, 10)
SETTINGS = {"CLIPMILL_BREAKER__OPEN_SECONDS": "5"}


async def test_requests_move_to_the_egress_that_is_not_blocked(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, egresses=("a", "b"), **SETTINGS) as pipeline:
        await pipeline.start_worker("all")
        client = PipelineClient(pipeline)
        async with reading_results(pipeline):
            for number, scenario in enumerate(("blocked", "page.403")):
                await _run_with_blocked_egress(
                    pipeline, client, scenario, first_serial=1_000 * number
                )
            await _one_deleted_video(client)


async def _run_with_blocked_egress(
    pipeline: PipelineProcess, client: PipelineClient, scenario: str, *, first_serial: int
) -> None:
    load = SteadyLoad(pipeline, per_second=10, first_serial=first_serial)
    began = time.time()
    await load.run(2)
    pipeline.standin.switch(scenario, egress="a")
    blocked = time.time()
    await load.run(SECONDS)
    pipeline.standin.clear()
    await client.wait_for(list(load.published), 60)
    changes = [each for each in await breaker_changes(client, "extract", "a") if each.at >= began]
    print("\n" + outage_timeline(began, changes, (blocked, f"a: {scenario}")))
    opened = next(each for each in changes if each.state.state == "open")
    assert opened.state.reason is ErrorCode.RATE_LIMIT_IP_BLOCK
    other = await breaker_changes(client, "extract", "b")
    assert {each.state.state for each in other} <= {"closed"}
    results = await pipeline.read_results(0)
    outcomes = {name: results[name][0] for name in load.published}
    assert {each["status"] for each in outcomes.values()} == {"completed"}
    switches = [
        attempt
        for each in outcomes.values()
        for attempt in each["recovery"]
        if attempt["strategy"] == "other_egress"
    ]
    assert switches
    assert all(attempt["egress"] == "a" for attempt in switches)
    assert await dead_letter_count(client) == 0
    await _check_only_trial_calls(client, opened.at, began + SECONDS, trial_calls_granted(changes))


async def _check_only_trial_calls(
    client: PipelineClient, opened: float, until: float, trials: int
) -> None:
    """Assert that only trial calls use the blocked egress while its breaker is open."""
    attempts = [
        each
        for each in await reported_attempts(client, operation="extract", egress="a")
        if opened + KNOWN_SECONDS < _epoch_seconds(each["at"]) < until
    ]
    assert len(attempts) <= trials
    assert all(each.get("trial") for each in attempts)


def _epoch_seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def _one_deleted_video(client: PipelineClient) -> None:
    """Status 10204 too, but with TikTok's reason as text."""
    outcome = await client.request(page(video_id("deleted", serial=77)))
    assert outcome["error"]["error_type"] == "content.not_found"
    assert outcome["attempts"] == 1
