"""Commands of users and operators: cancel, retry, refresh, breakers; by CLI and by topic."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.acceptance.client import PipelineClient, page
from tests.pipeline_process import PipelineProcess
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOPPED_SECONDS = 1.0


async def wait_until(client: PipelineClient, condition: Any, seconds: float = 20) -> None:
    """Poll until a condition holds; results are read meanwhile."""
    async with asyncio.timeout(seconds):
        while not condition():
            await client.pipeline.read_results(0.02)


def open_media(pipeline: PipelineProcess) -> int:
    count: int = pipeline.standin.counters()["open_media"]
    return count


def partial_files(pipeline: PipelineProcess) -> list[str]:
    return [str(path) for path in (pipeline.data_dir / "tmp").glob("*/job-*/*")]


async def test_running_download_is_cancelled(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    await pipeline.publish({"id": "long", "url": page(video_id("media.takes", param=60, serial=1))})
    await wait_until(client, lambda: open_media(pipeline) and partial_files(pipeline))
    sent_at = time.time()
    await pipeline.publish_command(command="cancel", request_id="long", by="test")
    outcome = await client.outcome("long", 5)
    await wait_until(client, lambda: not open_media(pipeline) and not partial_files(pipeline), 5)
    stopped = time.time() - sent_at
    print(
        f"\nresult after {outcome['_seen_at'] - sent_at:.2f} s, all stopped after {stopped:.2f} s"
    )
    assert outcome["status"] == "cancelled"
    assert outcome["error"]["error_type"] == "request.cancelled"
    assert outcome["_seen_at"] - sent_at <= STOPPED_SECONDS
    assert stopped <= STOPPED_SECONDS


async def test_parked_request_is_cancelled_immediately(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    await pipeline.publish({"id": "parked", "url": page(video_id("page.429", serial=2))})
    await client.wait_for_transition("parked", "retrying")
    status, output, errors = await pipeline.clipmill("cancel", "parked", "--wait")
    assert (status, errors) == (0, "")
    assert "cancelled" in output
    assert (await client.outcome("parked"))["status"] == "cancelled"


async def test_batch_is_cancelled_with_all_its_members(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    urls = [page(video_id("page.429", serial=number)) for number in range(10, 14)]
    await pipeline.publish({"id": "batch", "urls": urls})
    for number in range(4):
        await client.wait_for_transition(f"batch/{number}", "retrying")
    await pipeline.publish_command(command="cancel", request_id="batch")
    for number in range(4):
        assert (await client.outcome(f"batch/{number}", 10))["status"] == "cancelled"


async def test_parked_request_expires_at_its_deadline(client: PipelineClient) -> None:
    deadline = time.time() + 6
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(deadline))
    text += f"{deadline % 1:.3f}"[1:] + "Z"
    url = page(video_id("page.429", serial=3))
    outcome = await client.request(url, deadline=text)
    late = outcome["_seen_at"] - deadline
    print(f"\nexpired {late:.2f} s after the deadline")
    assert outcome["status"] == "expired"
    assert 0 <= late <= 1


async def test_retry_with_another_quality_overrides_the_option(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    first = await client.request(page(video_id(serial=4)), id="first", attributes={"shelf": "7"})
    assert first["files"][0]["width"] == 1080
    status, output, errors = await pipeline.clipmill(
        "retry", "first", "--quality", "720p", "--wait", "--json"
    )
    assert (status, errors) == (0, "")
    again = json.loads(output.splitlines()[-1])
    assert again["status"] == "completed"
    assert again["retry_of"] == "first"
    assert again["files"][0]["width"] == 720
    assert again["attributes"] == {"shelf": "7"}


async def test_suggested_retry_command_of_a_failure_works(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    video = video_id("page.404", times=1, serial=5)
    failed = await client.request(page(video), id="gone-for-a-moment")
    assert failed["status"] == "failed"
    status, output, _ = await pipeline.clipmill("retry", "gone-for-a-moment", "--wait", "--json")
    again = json.loads(output.splitlines()[-1])
    assert again["status"] in {"completed", "failed"}
    assert status == (0 if again["status"] == "completed" else 2)


async def test_retry_of_an_unknown_request_is_rejected(pipeline: PipelineProcess) -> None:
    status, output, _ = await pipeline.clipmill("retry", "never-heard-of", "--wait", "--json")
    refused = json.loads(output.splitlines()[-1])
    assert status == 2
    assert refused["status"] == "rejected"
    assert "never-heard-of" in refused["error"]["user_message"]


async def test_refresh_invalidates_the_cached_page(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    video = video_id(serial=6)
    for _ in range(2):
        await client.request(page(video), action="info")
    assert client.request_counts(video)["page"] == 1
    status, _, errors = await pipeline.clipmill("refresh", f"tiktok:{video}")
    assert (status, errors) == (0, "")
    outcome = await client.request(page(video), action="info")
    assert outcome["cache"] == "miss"
    assert client.request_counts(video)["page"] == 2


async def test_breaker_is_forced_open_and_reset(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    name = "tiktok:extract:proxy"
    status, _, errors = await pipeline.clipmill("breakers", "open", name)
    assert (status, errors) == (0, "")
    _, output, _ = await pipeline.clipmill("breakers", "--json")
    [state] = [json.loads(line) for line in output.splitlines()]
    assert (state["state"], state["operation"]) == ("forced_open", "extract")
    video = video_id(serial=7)
    await pipeline.publish({"id": "held", "url": page(video), "action": "info"})
    await client.wait_for_transition("held", "parked")
    assert client.request_counts(video) == {}
    status, _, errors = await pipeline.clipmill("breakers", "reset", name)
    assert (status, errors) == (0, "")
    outcome = await client.outcome("held", 45)
    assert (outcome["status"], outcome["attempts"]) == ("completed", 1)
    assert outcome["parked"]["times"] >= 1


async def test_invalid_command_is_rejected_with_its_field(
    pipeline: PipelineProcess, client: PipelineClient
) -> None:
    await pipeline.publish_command(id="odd-1", command="explode", request_id="x")
    await pipeline.publish_command(id="odd-2", command="cancel", request="x")
    await pipeline.publish_command(id="odd-3", command="open_breaker", breaker="everything")
    for name in ("odd-1", "odd-2", "odd-3"):
        outcome = await client.outcome(name)
        assert outcome["status"] == "rejected"
        assert outcome["error"]["technical_details"]["field"].startswith("$")
