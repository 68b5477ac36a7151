"""What users and operators can order: cancel, retry, refresh, breakers; also by the topic."""

import asyncio
import json
import time
from typing import Any

import pytest

from tests.acceptance.desk import Desk, page
from tests.house import House
from tests.standin import video_id

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOPPED_SECONDS = 1.0


async def until(desk: Desk, true: Any, seconds: float = 20) -> None:
    """Return when something holds; results are read meanwhile."""
    async with asyncio.timeout(seconds):
        while not true():
            await desk.house.read_results(0.02)


def open_media(house: House) -> int:
    count: int = house.standin.counters()["open_media"]
    return count


def partial_files(house: House) -> list[str]:
    return [str(path) for path in (house.data_dir / "tmp").glob("*/job-*/*")]


async def test_a_running_download_is_cancelled(house: House, desk: Desk) -> None:
    await house.publish({"id": "long", "url": page(video_id("media.takes", param=60, serial=1))})
    await until(desk, lambda: open_media(house) and partial_files(house))
    ordered = time.time()
    await house.command(command="cancel", request_id="long", by="test")
    outcome = await desk.outcome("long", 5)
    await until(desk, lambda: not open_media(house) and not partial_files(house), 5)
    stopped = time.time() - ordered
    print(
        f"\nresult after {outcome['_seen_at'] - ordered:.2f} s, all stopped after {stopped:.2f} s"
    )
    assert outcome["status"] == "cancelled"
    assert outcome["error"]["error_type"] == "request.cancelled"
    assert outcome["_seen_at"] - ordered <= STOPPED_SECONDS
    assert stopped <= STOPPED_SECONDS


async def test_a_parked_request_is_cancelled_at_once(house: House, desk: Desk) -> None:
    await house.publish({"id": "parked", "url": page(video_id("page.429", serial=2))})
    await desk.transition("parked", "retrying")
    status, shown, complaint = await house.clipmill("cancel", "parked", "--wait")
    assert (status, complaint) == (0, "")
    assert "cancelled" in shown
    assert (await desk.outcome("parked"))["status"] == "cancelled"


async def test_a_batch_is_cancelled_with_all_its_members(house: House, desk: Desk) -> None:
    urls = [page(video_id("page.429", serial=number)) for number in range(10, 14)]
    await house.publish({"id": "batch", "urls": urls})
    for number in range(4):
        await desk.transition(f"batch/{number}", "retrying")
    await house.command(command="cancel", request_id="batch")
    for number in range(4):
        assert (await desk.outcome(f"batch/{number}", 10))["status"] == "cancelled"


async def test_a_deadline_ends_a_parked_request_on_time(desk: Desk) -> None:
    deadline = time.time() + 6
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(deadline))
    text += f"{deadline % 1:.3f}"[1:] + "Z"
    url = page(video_id("page.429", serial=3))
    outcome = await desk.ask(url, deadline=text)
    late = outcome["_seen_at"] - deadline
    print(f"\nexpired {late:.2f} s after the deadline")
    assert outcome["status"] == "expired"
    assert 0 <= late <= 1


async def test_a_request_is_repeated_with_another_quality(house: House, desk: Desk) -> None:
    first = await desk.ask(page(video_id(serial=4)), id="first", attributes={"shelf": "7"})
    assert first["files"][0]["width"] == 1080
    status, shown, complaint = await house.clipmill(
        "retry", "first", "--quality", "720p", "--wait", "--json"
    )
    assert (status, complaint) == (0, "")
    again = json.loads(shown.splitlines()[-1])
    assert again["status"] == "completed"
    assert again["retry_of"] == "first"
    assert again["files"][0]["width"] == 720
    assert again["attributes"] == {"shelf": "7"}


async def test_the_commands_that_a_failure_names_work(house: House, desk: Desk) -> None:
    video = video_id("page.404", times=1, serial=5)
    failed = await desk.ask(page(video), id="gone-for-a-moment")
    assert failed["status"] == "failed"
    status, shown, _ = await house.clipmill("retry", "gone-for-a-moment", "--wait", "--json")
    again = json.loads(shown.splitlines()[-1])
    assert again["status"] in {"completed", "failed"}
    assert status == (0 if again["status"] == "completed" else 2)


async def test_what_is_not_known_cannot_be_repeated(house: House) -> None:
    status, shown, _ = await house.clipmill("retry", "never-heard-of", "--wait", "--json")
    refused = json.loads(shown.splitlines()[-1])
    assert status == 2
    assert refused["status"] == "rejected"
    assert "never-heard-of" in refused["error"]["user_message"]


async def test_a_page_is_read_anew_after_a_refresh(house: House, desk: Desk) -> None:
    video = video_id(serial=6)
    for _ in range(2):
        await desk.ask(page(video), action="info")
    assert desk.counts(video)["page"] == 1
    status, _, complaint = await house.clipmill("refresh", f"tiktok:{video}")
    assert (status, complaint) == (0, "")
    outcome = await desk.ask(page(video), action="info")
    assert outcome["cache"] == "miss"
    assert desk.counts(video)["page"] == 2


async def test_a_breaker_is_opened_by_hand_and_reset(house: House, desk: Desk) -> None:
    name = "tiktok:extract:proxy"
    status, _, complaint = await house.clipmill("breakers", "open", name)
    assert (status, complaint) == (0, "")
    _, shown, _ = await house.clipmill("breakers", "--json")
    [state] = [json.loads(line) for line in shown.splitlines()]
    assert (state["state"], state["operation"]) == ("forced_open", "extract")
    video = video_id(serial=7)
    await house.publish({"id": "held", "url": page(video), "action": "info"})
    await desk.transition("held", "parked")
    assert desk.counts(video) == {}
    status, _, complaint = await house.clipmill("breakers", "reset", name)
    assert (status, complaint) == (0, "")
    outcome = await desk.outcome("held", 45)
    assert (outcome["status"], outcome["attempts"]) == ("completed", 1)
    assert outcome["parked"]["times"] >= 1


async def test_what_is_no_command_is_refused_by_name(house: House, desk: Desk) -> None:
    await house.command(id="odd-1", command="explode", request_id="x")
    await house.command(id="odd-2", command="cancel", request="x")
    await house.command(id="odd-3", command="open_breaker", breaker="everything")
    for name in ("odd-1", "odd-2", "odd-3"):
        outcome = await desk.outcome(name)
        assert outcome["status"] == "rejected"
        assert outcome["error"]["technical_details"]["field"].startswith("$")
