"""A real Prometheus scrapes two workers: every panel has numbers, every rule is healthy."""

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
from tests.house import House
from tests.unit.deploy.board_queries import boards, interpolated, panels

pytestmark = pytest.mark.asyncio(loop_scope="module")

STEP_SECONDS = 2
WINDOW = "10s"
SETTLED_SECONDS = 5
"""For the last scrapes, and rules that look at them."""

BOARDS = boards()


class Monitoring:
    """Asks a Prometheus that has watched a run."""

    def __init__(self, url: str, began: float) -> None:
        self.url = url
        self.began = began

    def ask(self, path: str, **fields: Any) -> Any:
        """Return the data of an answer."""
        query = urllib.parse.urlencode(fields)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=30) as answer:
            body = json.loads(answer.read())
        assert body["status"] == "success"
        return body["data"]

    def numbers(self, expr: str, *, instant: bool) -> list[float]:
        """Return all values of a query: now, or during the run."""
        span = f"{math.ceil(time.time() - self.began)}s"
        query = interpolated(expr, WINDOW, span)
        if instant:
            values = [each["value"] for each in self.ask("query", query=query)["result"]]
        else:
            found = self.ask(
                "query_range", query=query, start=self.began, end=time.time(), step=STEP_SECONDS
            )
            values = [value for each in found["result"] for value in each["values"]]
        return [float(value) for _, value in values if not math.isnan(float(value))]


def configuration(workers: list[str], folder: Path) -> dict[str, Any]:
    """Return a configuration that evaluates every rule each second, whatever its group says."""
    found = prometheus_configuration(workers, interval="1s")
    files = [folder / Path(name).name for name in found["rule_files"]]
    for name, file in zip(found["rule_files"], files, strict=True):
        groups = yaml.safe_load(Path(name).read_text())["groups"]
        for group in groups:
            group.pop("interval", None)
        file.write_text(yaml.safe_dump({"groups": groups}))
    return found | {"rule_files": [str(file) for file in files]}


@asynccontextmanager
async def watched(house: House, workers: list[str]) -> AsyncIterator[tuple[str, Path]]:
    folder = house.directory / "prometheus"
    async with prometheus(configuration(workers, house.directory), folder, 0) as url:
        yield url, folder


async def scraped(monitoring: Monitoring, workers: list[str]) -> None:
    """Return when each worker was scraped once: what happens before has no rate."""
    async with asyncio.timeout(30):
        up = 0
        while up < len(workers):
            await asyncio.sleep(0.2)
            up = len(await asyncio.to_thread(monitoring.numbers, "up == 1", instant=True))


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def monitoring(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Monitoring]:
    """Two workers, everything that can happen, a restart, and Prometheus all the while."""
    async with House(tmp_path_factory.mktemp("house"), **SETTINGS) as house:
        load = MixedLoad(house)
        await load.start()
        addresses = [urlsplit(worker.ready["http"]).netloc for worker in load.workers]
        began = time.time()
        async with watched(house, addresses) as (url, folder):
            await scraped(Monitoring(url, began), addresses)
            await load.run()
            worker = await load.restart()
            addresses[1] = urlsplit(worker.ready["http"]).netloc
            write_configuration(configuration(addresses, house.directory), folder)
            reload = urllib.request.Request(f"{url}/-/reload", method="POST")
            await asyncio.to_thread(lambda: urllib.request.urlopen(reload, timeout=10).close())
            await load.hits_and_misses()
            await asyncio.sleep(SETTLED_SECONDS)
            yield Monitoring(url, began)


@pytest.mark.parametrize("name", BOARDS)
async def test_every_query_of_every_panel_has_numbers(name: str, monitoring: Monitoring) -> None:
    empty = []
    for panel in panels(BOARDS[name]):
        for target in panel["targets"]:
            numbers = await asyncio.to_thread(
                monitoring.numbers, target["expr"], instant=target["instant"]
            )
            if not numbers:
                empty.append(f"{panel['title']}: {target['expr']}")
    assert empty == []


@pytest.mark.parametrize("name", BOARDS)
async def test_every_variable_has_values(name: str, monitoring: Monitoring) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = variable["definition"][len("label_values(") : -1].split(", ")
            found = await asyncio.to_thread(
                monitoring.ask, f"label/{label}/values", **{"match[]": metric}
            )
            assert found, variable["name"]


@pytest.mark.parametrize("name", BOARDS)
async def test_every_annotation_can_be_asked_for(name: str, monitoring: Monitoring) -> None:
    for annotation in BOARDS[name]["annotations"]["list"]:
        await asyncio.to_thread(monitoring.numbers, annotation["expr"], instant=False)


async def test_every_rule_is_loaded_and_healthy(monitoring: Monitoring) -> None:
    groups = (await asyncio.to_thread(monitoring.ask, "rules"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 40
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    firing = {rule["name"] for rule in rules if rule.get("state") == "firing"}
    assert "ClipmillDeadLettersArriving" in firing
