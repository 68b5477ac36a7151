"""The services of docker-compose.yml with their own commands, on an embedded broker."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from streams.broker.broker import EmbeddedBroker
from tests.unit.deploy.composition import services, workers

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIPMILL = str(Path(sys.executable).with_name("clipmill"))
START_SECONDS = 30
STOP_SECONDS = 10


class Deployment:
    """Starts services on a broker, with a folder in place of the volume."""

    def __init__(self, bootstrap: str, folder: Path) -> None:
        self._substitutions = {
            "kafka:9092": bootstrap,
            "0.0.0.0:8080": "127.0.0.1:0",
            "/data": str(folder),
        }

    async def start(self, service: dict[str, Any]) -> Process:
        """Start a service's command in its environment."""
        environment = {
            name: value for name, value in service["environment"].items() if value is not None
        }
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("CLIPMILL_")
        }
        return await asyncio.create_subprocess_exec(
            CLIPMILL,
            *[self._substitutions.get(word, word) for word in service["command"]],
            env=inherited
            | {name: self._substitutions.get(value, value) for name, value in environment.items()},
            stdout=PIPE,
            stderr=PIPE,
        )


@asynccontextmanager
async def running(deployment: Deployment, service: dict[str, Any]) -> AsyncIterator[Process]:
    process = await deployment.start(service)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def ready_line(process: Process) -> dict[str, Any]:
    """Return the JSON line that a process prints when it is ready."""
    assert process.stdout
    async with asyncio.timeout(START_SECONDS):
        line = await process.stdout.readline()
    if not line:
        _, log = await process.communicate()
        raise AssertionError(f"ended with {process.returncode}: {log.decode()[-2_000:]}")
    ready: dict[str, Any] = json.loads(line)
    return ready


async def stop(process: Process) -> int | None:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(STOP_SECONDS):
        await process.communicate()
    return process.returncode


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def deployment(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    async with EmbeddedBroker(folder / "kafka") as broker:
        deployment = Deployment(broker.bootstrap, folder / "data")
        process = await deployment.start(services()["topics"])
        output, log = await process.communicate()
        assert process.returncode == 0, log.decode()
        assert b"created clipmill.requests.v1" in output
        yield deployment


async def test_applying_topics_twice_changes_nothing(deployment: Deployment) -> None:
    process = await deployment.start(services()["topics"])
    output, _ = await process.communicate()
    assert (process.returncode, output) == (0, b"all topics exist\n")


@pytest.mark.parametrize("name", list(workers()))
async def test_service_becomes_ready_and_stops_on_sigterm(
    name: str, deployment: Deployment
) -> None:
    async with running(deployment, workers()[name]) as process:
        ready = await ready_line(process)
        assert (ready["ready"], ready["stages"]) == (True, [name])
        async with ClientSession() as session:
            for path in ("live", "ready"):
                async with session.get(f"{ready['http']}/health/{path}") as answer:
                    assert answer.status == 200, await answer.text()
        assert await stop(process) == 0


async def test_services_together_answer_a_client(deployment: Deployment) -> None:
    client = {
        "command": ["submit", "not-a-video", "--bootstrap", "kafka:9092", "--wait", "--json"],
        "environment": {},
    }
    async with (
        running(deployment, workers()["validation"]) as validation,
        running(deployment, workers()["ledger"]) as ledger,
    ):
        await asyncio.gather(ready_line(validation), ready_line(ledger))
        async with running(deployment, client) as process, asyncio.timeout(START_SECONDS):
            output, log = await process.communicate()
    assert process.returncode == 2, log.decode()
    result = json.loads(output)
    assert result["url"] == "not-a-video"
    assert result["status"] in {"rejected", "failed"}
