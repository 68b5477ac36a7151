"""The broker is away in the middle of a load: all wait and go on, and no attempt is used up.

Short in CI, three minutes with ``FULL_LENGTH=1``.
"""

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from streams.broker.broker import BrokerError
from streams.topics import DEADLETTERS
from tests.acceptance.desk import Desk, page
from tests.acceptance.scale import in_full
from tests.house import House, Process
from tests.standin import video_id

OUTAGE_SECONDS = in_full(180, 15)
SMALLEST = {"quality": "worst"}
NOTICED_SECONDS = 10.0
BACK_SECONDS = 90.0
LINES_A_MINUTE = 20
"""Of a worker's log while the broker is away: the first line of each kind, and the counts."""


async def frozen(house: House) -> None:
    """Let the broker keep its connections and say nothing."""
    pid = house.broker.pid
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(OUTAGE_SECONDS)
    os.kill(pid, signal.SIGCONT)


async def stopped(house: House) -> None:
    """Kill the broker; what is started in its place is held before it listens."""
    dead, held = house.broker.pid, set[int]()
    os.kill(dead, signal.SIGKILL)
    until = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < until:
        with suppress(BrokerError, ProcessLookupError):
            if house.broker.pid != dead and house.broker.pid not in held:
                os.kill(house.broker.pid, signal.SIGSTOP)
                held.add(house.broker.pid)
        await asyncio.sleep(0.02)
    for pid in held:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("outage", [frozen, stopped])
async def test_a_broker_that_is_away_delays_everything_and_loses_nothing(
    tmp_path: Path, outage: Callable[[House], Awaitable[None]]
) -> None:
    async with House(tmp_path) as house:
        worker = await house.start_worker("all")
        desk = Desk(house)
        asked = _requests()
        await house.publish(*asked)
        await asyncio.sleep(1.5)
        before = len(_log(worker))
        said, _ = await asyncio.gather(_health(worker.ready["http"]), outage(house))
        written = _log(worker)[before:]
        back = time.monotonic()
        await desk.wait_for([each["id"] for each in asked], BACK_SECONDS)
        took = time.monotonic() - back
        results = [await desk.outcome(each["id"]) for each in asked]
        print(f"\n{outage.__name__} for {OUTAGE_SECONDS:g} s: {said}")
        print(f"{len(results)} outcomes, the last {took:.1f} s after the return")
        assert {each["status"] for each in results} == {"completed"}
        assert {each["attempts"] for each in results} == {1}
        assert await desk.records(DEADLETTERS) == []
        assert "kafka" in said
        assert worker.running()
        await _until_ready(worker.ready["http"])
        await _until_logged(worker, "takes records again after")
    print(f"{len(written)} log lines in the outage")
    assert len(written) <= LINES_A_MINUTE * max(1.0, OUTAGE_SECONDS / 60), "\n".join(written)
    assert [line for line in written if "does not take records for" in line], "\n".join(written)


def _requests() -> list[dict[str, Any]]:
    """Downloads that end before, in and after a short outage, small ones, and information."""
    slow = [
        {"id": f"slow-{number}", "url": page(video_id("media.takes", param=seconds, serial=number))}
        for number, seconds in enumerate([2, 3, 5, 8, 10, 12, 15, 30])
    ]
    quick = [
        {"id": f"quick-{number}", "url": page(video_id("kilobytes", param=40, serial=number))}
        for number in range(30)
    ]
    infos = [
        {"id": f"info-{number}", "url": page(video_id(serial=number)), "action": "info"}
        for number in range(30)
    ]
    return [*({**each, "options": SMALLEST} for each in slow), *quick, *infos]


async def _health(http: str) -> dict[str, str]:
    """Return the problems that health names once the outage is noticed."""
    until = time.monotonic() + max(NOTICED_SECONDS, OUTAGE_SECONDS - 2)
    while time.monotonic() < until:
        status, body = await asyncio.to_thread(_ready, http)
        if status == 503 and "kafka" in body["problems"]:
            problems: dict[str, str] = body["problems"]
            return problems
        await asyncio.sleep(0.5)
    return {}


def _log(worker: Process) -> list[str]:
    return worker.log.read_text().splitlines()


async def _until_logged(worker: Process, text: str) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        while not any(text in line for line in _log(worker)):  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def _until_ready(http: str) -> None:
    async with asyncio.timeout(BACK_SECONDS):
        while (await asyncio.to_thread(_ready, http))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


def _ready(http: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{http}/health/ready", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
