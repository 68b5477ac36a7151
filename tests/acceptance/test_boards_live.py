"""A real Prometheus scrapes two workers: every panel has data, every rule is healthy."""

import asyncio
import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
import yaml

from deploy.watch.programs import prometheus, prometheus_configuration, write_configuration
from tests.acceptance.mixed_load import SETTINGS, MixedLoad
from tests.pipeline_process import PipelineProcess
from tests.unit.deploy.board_queries import boards, interpolated, panels

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEP_SECONDS = 2
WINDOW = "10s"
SETTLED_SECONDS = 5
"""Time for the last scrapes and rule evaluations."""

BOARDS = boards()


class Monitoring:
    """Queries a Prometheus that scraped a run."""

    def __init__(self, url: str, began: float) -> None:
        self.url = url
        self.began = began

    def get(self, path: str, **fields: Any) -> Any:
        """Return the data of an API response."""
        query = urllib.parse.urlencode(fields)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            body = json.loads(answer.read())
        assert body["status"] == "success"
        return body["data"]

    def values(self, expr: str, *, instant: bool) -> list[float]:
        """Return all values of an instant query, or of a range query over the run."""
        span = f"{math.ceil(time.time() - self.began)}s"
        query = interpolated(expr, WINDOW, span)
        if instant:
            values = [each["value"] for each in self.get("query", query=query)["result"]]
        else:
            found = self.get(
                "query_range", query=query, start=self.began, end=time.time(), step=STEP_SECONDS
            )
            values = [value for each in found["result"] for value in each["values"]]
        return [float(value) for _, value in values if not math.isnan(float(value))]


def configuration(workers: list[str], folder: Path) -> dict[str, Any]:
    """Return a configuration with a rule evaluation interval of 1 s in every group."""
    found = prometheus_configuration(workers, interval="1s")
    files = [folder / Path(name).name for name in found["rule_files"]]
    for name, file in zip(found["rule_files"], files, strict=True):
        groups = yaml.safe_load(Path(name).read_text())["groups"]
        for group in groups:
            group.pop("interval", None)
        file.write_text(yaml.safe_dump({"groups": groups}))
    return found | {"rule_files": [str(file) for file in files]}


@asynccontextmanager
async def prometheus_scraping(
    pipeline: PipelineProcess, workers: list[str]
) -> AsyncIterator[tuple[str, Path]]:
    folder = pipeline.directory / "prometheus"
    async with prometheus(configuration(workers, pipeline.directory), folder, 0) as url:
        yield url, folder


async def wait_until_scraped(monitoring: Monitoring, workers: list[str]) -> None:
    """Wait until each worker was scraped once: events before that have no rate."""
    async with asyncio.timeout(30):
        up = 0
        while up < len(workers):
            await asyncio.sleep(0.2)
            up = len(await asyncio.to_thread(monitoring.values, "up == 1", instant=True))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def monitoring(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Monitoring]:
    """Prometheus, scraping two workers during the mixed load and a restart."""
    async with PipelineProcess(tmp_path_factory.mktemp("pipeline"), **SETTINGS) as pipeline:
        load = MixedLoad(pipeline)
        await load.start()
        addresses = [urlsplit(worker.ready["http"]).netloc for worker in load.workers]
        began = time.time()
        async with prometheus_scraping(pipeline, addresses) as (url, folder):
            await wait_until_scraped(Monitoring(url, began), addresses)
            await load.run()
            worker = await load.restart()
            addresses[1] = urlsplit(worker.ready["http"]).netloc
            write_configuration(configuration(addresses, pipeline.directory), folder)
            reload = urllib.request.Request(f"{url}/-/reload", method="POST")
            await asyncio.to_thread(lambda: urllib.request.urlopen(reload, timeout=10).close())
            await load.hits_and_misses()
            await asyncio.sleep(SETTLED_SECONDS)
            yield Monitoring(url, began)


@pytest.mark.parametrize("name", BOARDS)
async def test_every_panel_query_returns_data(name: str, monitoring: Monitoring) -> None:
    empty = []
    for panel in panels(BOARDS[name]):
        for target in panel["targets"]:
            values = await asyncio.to_thread(
                monitoring.values, target["expr"], instant=target["instant"]
            )
            if not values:
                empty.append(f"{panel['title']}: {target['expr']}")
    assert empty == []


@pytest.mark.parametrize("name", BOARDS)
async def test_every_variable_has_values(name: str, monitoring: Monitoring) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = variable["definition"][len("label_values(") : -1].split(", ")
            found = await asyncio.to_thread(
                monitoring.get, f"label/{label}/values", **{"match[]": metric}
            )
            assert found, variable["name"]


@pytest.mark.parametrize("name", BOARDS)
async def test_every_annotation_query_returns_data(name: str, monitoring: Monitoring) -> None:
    for annotation in BOARDS[name]["annotations"]["list"]:
        found = await asyncio.to_thread(monitoring.values, annotation["expr"], instant=False)
        assert found, annotation["name"]


async def test_every_rule_is_loaded_and_healthy(monitoring: Monitoring) -> None:
    groups = (await asyncio.to_thread(monitoring.get, "rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 40
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert "ClipmillDeadLettersArriving" in firing
