"""Which stage stands still is seen from another process: by its health and by its metric.

With short times; that the default ones keep within 30 s,
`tests/unit/streams/runtime/test_heartbeats.py` shows for every moment at which a stage may stop.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from streams.stage import stage_names
from streams.topics import AUDIT, RESULTS
from tests.acceptance.desk import Desk, get
from tests.house import House, Process

OFTEN = {"CLIPMILL_HEARTBEAT__INTERVAL_SECONDS": "1", "CLIPMILL_HEARTBEAT__LIMIT_SECONDS": "4"}
OTHERS = tuple(name for name in stage_names() if name not in {"monitor", "extraction"})
SEEN_SECONDS = 30.0


async def test_the_stages_of_a_process_that_stands_still_are_named(tmp_path: Path) -> None:
    async with House(tmp_path, **OFTEN) as house:
        monitor, extraction, others = [
            house.spawn_worker(*stages) for stages in (("monitor",), ("extraction",), OTHERS)
        ]
        await asyncio.gather(*(each.wait_ready() for each in (monitor, extraction, others)))
        await _until(monitor, lambda health, ages: not (health["degraded"] or any(ages.values())))
        os.kill(extraction.pid, signal.SIGSTOP)
        await _until(monitor, _names("extraction"))
        os.kill(others.pid, signal.SIGSTOP)
        await _until(monitor, _names("extraction", *OTHERS))
        os.kill(extraction.pid, signal.SIGCONT)
        os.kill(others.pid, signal.SIGCONT)
        await _until(monitor, _names())
        assert await Desk(house).records(AUDIT, RESULTS) == [], "heartbeats are seen by no client"


Check = Callable[[Mapping[str, Any], Mapping[str, float]], bool]
"""Looks at a worker's health, and at the age of the heartbeats by stage."""


def _names(*stages: str) -> Check:
    """Return the check that a worker, itself ready, names just these stages twice."""

    def check(health: Mapping[str, Any], ages: Mapping[str, float]) -> bool:
        old = {stage for stage, age in ages.items() if age >= 4}
        return not health["problems"] and set(health["degraded"]) == old == set(stages)

    return check


async def _until(worker: Process, check: Check) -> None:
    async with asyncio.timeout(SEEN_SECONDS):
        while True:
            health = json.loads(await get(f"{worker.ready['http']}/health/ready"))
            page = await get(f"{worker.ready['http']}/metrics")
            ages = {
                sample.labels["stage"]: sample.value
                for family in text_string_to_metric_families(page)
                for sample in family.samples
                if sample.name == "clipmill_heartbeat_age_seconds"
            }
            if ages.keys() == set(stage_names()) and check(health, ages):
                return
            await asyncio.sleep(0.2)
