"""Broker outage under load: all requests resume afterwards, and no attempt is consumed.

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
from tests.acceptance.client import PipelineClient, page
from tests.acceptance.scale import full_or_short
from tests.pipeline_process import PipelineProcess, Process
from tests.standin import video_id

OUTAGE_SECONDS = full_or_short(180, 15)
SMALLEST = {"quality": "worst"}
DETECTION_SECONDS = 10.0
RECOVERY_SECONDS = 90.0
LOG_LINES_PER_MINUTE = 20
"""Log lines of a worker during the outage: the first line of each kind, and the counts."""


async def frozen(pipeline: PipelineProcess) -> None:
    """Stop the broker's process (SIGSTOP): connections stay open and get no responses."""
    pid = pipeline.broker.pid
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(OUTAGE_SECONDS)
    os.kill(pid, signal.SIGCONT)


async def stopped(pipeline: PipelineProcess) -> None:
    """Kill the broker, and stop each process that replaces it before it listens."""
    dead, held = pipeline.broker.pid, set[int]()
    os.kill(dead, signal.SIGKILL)
    until = time.monotonic() + OUTAGE_SECONDS
    while time.monotonic() < until:
        with suppress(BrokerError, ProcessLookupError):
            if pipeline.broker.pid != dead and pipeline.broker.pid not in held:
                os.kill(pipeline.broker.pid, signal.SIGSTOP)
                held.add(pipeline.broker.pid)
        await asyncio.sleep(0.02)
    for pid in held:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("outage", [frozen, stopped])
async def test_broker_outage_delays_requests_and_loses_none(
    tmp_path: Path, outage: Callable[[PipelineProcess], Awaitable[None]]
) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        worker = await pipeline.start_worker("all")
        client = PipelineClient(pipeline)
        requests = _requests()
        await pipeline.publish(*requests)
        await asyncio.sleep(1.5)
        before = len(_log_lines(worker))
        problems, _ = await asyncio.gather(
            _reported_problems(worker.ready["http"]), outage(pipeline)
        )
        logged = _log_lines(worker)[before:]
        recovered = time.monotonic()
        await client.wait_for([each["id"] for each in requests], RECOVERY_SECONDS)
        seconds = time.monotonic() - recovered
        results = [await client.outcome(each["id"]) for each in requests]
        print(f"\n{outage.__name__} for {OUTAGE_SECONDS:g} s: {problems}")
        print(f"{len(results)} outcomes, the last {seconds:.1f} s after the return")
        assert {each["status"] for each in results} == {"completed"}
        assert {each["attempts"] for each in results} == {1}
        assert await client.records(DEADLETTERS) == []
        assert "kafka" in problems
        assert worker.running()
        await _wait_until_ready(worker.ready["http"])
        await _wait_until_logged(worker, "accepts records again after")
    print(f"{len(logged)} log lines in the outage")
    assert len(logged) <= LOG_LINES_PER_MINUTE * max(1.0, OUTAGE_SECONDS / 60), "\n".join(logged)
    assert [line for line in logged if "has not accepted records for" in line], "\n".join(logged)


def _requests() -> list[dict[str, Any]]:
    """Return downloads that end before, in and after the outage, small ones and info requests."""
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


async def _reported_problems(http: str) -> dict[str, str]:
    """Return the health problems once the outage is reported."""
    until = time.monotonic() + max(DETECTION_SECONDS, OUTAGE_SECONDS - 2)
    while time.monotonic() < until:
        status, body = await asyncio.to_thread(_readiness, http)
        if status == 503 and "kafka" in body["problems"]:
            problems: dict[str, str] = body["problems"]
            return problems
        await asyncio.sleep(0.5)
    return {}


def _log_lines(worker: Process) -> list[str]:
    return worker.log.read_text().splitlines()


async def _wait_until_logged(worker: Process, text: str) -> None:
    async with asyncio.timeout(RECOVERY_SECONDS):
        while not any(text in line for line in _log_lines(worker)):  # noqa: ASYNC110
            await asyncio.sleep(0.5)


async def _wait_until_ready(http: str) -> None:
    async with asyncio.timeout(RECOVERY_SECONDS):
        while (await asyncio.to_thread(_readiness, http))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.5)


def _readiness(http: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{http}/health/ready", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
