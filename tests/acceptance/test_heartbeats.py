"""A stalled stage is reported by another process: in its health, its metric and its alert.

`tests/unit/streams/runtime/test_heartbeats.py` shows for every time at which a stage may stall that
the default intervals detect it within 20 s; then it is scraped and the rule evaluated.
"""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.watch.programs import prometheus, prometheus_configuration
from streams.stage import stage_names
from streams.topics import AUDIT, RESULTS
from tests.acceptance.client import PipelineClient, get
from tests.pipeline_process import PipelineProcess, Process

SHORT_INTERVALS = {
    "CLIPMILL_HEARTBEAT__INTERVAL_SECONDS": "1",
    "CLIPMILL_HEARTBEAT__LIMIT_SECONDS": "4",
}
OTHERS = tuple(name for name in stage_names() if name not in {"monitor", "extraction"})
DETECTION_SECONDS = 30.0
FIRING = 'ALERTS{alertname="ClipmillHeartbeatMissed",alertstate="firing"}'


async def test_stages_of_a_stopped_process_are_reported_as_degraded(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path, **SHORT_INTERVALS) as pipeline:
        monitor, extraction, others = [
            pipeline.spawn_worker(*stages) for stages in (("monitor",), ("extraction",), OTHERS)
        ]
        await asyncio.gather(*(each.wait_ready() for each in (monitor, extraction, others)))
        await _wait_until(
            monitor, lambda health, ages: not (health["degraded"] or any(ages.values()))
        )
        os.kill(extraction.pid, signal.SIGSTOP)
        await _wait_until(monitor, _reports("extraction"))
        os.kill(others.pid, signal.SIGSTOP)
        await _wait_until(monitor, _reports("extraction", *OTHERS))
        os.kill(extraction.pid, signal.SIGCONT)
        os.kill(others.pid, signal.SIGCONT)
        await _wait_until(monitor, _reports())
        assert await PipelineClient(pipeline).records(AUDIT, RESULTS) == [], (
            "heartbeats reach no topic of clients"
        )


@pytest.mark.alone
async def test_stopped_stage_fires_its_alert_within_30_seconds(tmp_path: Path) -> None:
    async with PipelineProcess(tmp_path) as pipeline:
        extraction, others = [
            pipeline.spawn_worker(*stages) for stages in (("extraction",), ("monitor", *OTHERS))
        ]
        await asyncio.gather(extraction.wait_ready(), others.wait_ready())
        await _wait_until(others, _reports())
        configuration = prometheus_configuration([urlsplit(others.ready["http"]).netloc])
        async with prometheus(configuration, tmp_path / "prometheus", 0) as url:
            await _wait_for_samples(url, "clipmill_heartbeat_age_seconds")
            os.kill(extraction.pid, signal.SIGSTOP)
            async with asyncio.timeout(DETECTION_SECONDS):
                (alert,) = await _wait_for_samples(url, FIRING)
            assert alert["metric"]["stage"] == "extraction"
            health = json.loads(await get(f"{others.ready['http']}/health/ready"))
            assert set(health["degraded"]) == {"extraction"}
            os.kill(extraction.pid, signal.SIGCONT)


async def _wait_for_samples(prometheus_url: str, query: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(DETECTION_SECONDS):
        while True:
            body = json.loads(await get(f"{prometheus_url}/api/v1/query?query={quote(query)}"))
            if found := body["data"]["result"]:
                return [*found]
            await asyncio.sleep(0.2)


Check = Callable[[Mapping[str, Any], Mapping[str, float]], bool]
"""Takes a worker's health, and the age of the heartbeats by stage."""


def _reports(*stages: str) -> Check:
    """Return a check that a ready worker reports exactly these stages in health and metric."""

    def check(health: Mapping[str, Any], ages: Mapping[str, float]) -> bool:
        old = {stage for stage, age in ages.items() if age >= 4}
        return not health["problems"] and set(health["degraded"]) == old == set(stages)

    return check


async def _wait_until(worker: Process, check: Check) -> None:
    async with asyncio.timeout(DETECTION_SECONDS):
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
