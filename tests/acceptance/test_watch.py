"""`make watch`: service, Prometheus, Alertmanager and boards start and end together."""

import asyncio
import json
import signal
import socket
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from aiohttp import ClientConnectionError, ClientSession

READY_SECONDS = 90


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


async def printed_addresses(process: Process) -> dict[str, str]:
    """Return the printed addresses by component."""
    assert process.stdout is not None
    addresses: dict[str, str] = {}
    async with asyncio.timeout(READY_SECONDS):
        async for line in process.stdout:
            name, _, address = line.decode().strip().partition(" ")
            addresses[name] = address.strip()
            if name == "Ctrl-C":
                return addresses
    raise AssertionError(addresses)


async def get(url: str) -> Any:
    async with ClientSession() as session, session.get(url) as answer:
        assert answer.status == 200, url
        return json.loads(await answer.text())


async def wait_until_served(url: str) -> None:
    """Wait until the console, which starts after the service is ready, answers."""
    async with asyncio.timeout(30), ClientSession() as session:
        while True:
            with suppress(ClientConnectionError):
                async with session.get(url) as answer:
                    assert answer.status == 200, url
                    return
            await asyncio.sleep(0.2)


async def wait_until_scraped(prometheus: str) -> list[dict[str, Any]]:
    """Return the samples of `up` once the worker was scraped."""
    async with asyncio.timeout(30):
        while True:
            found = (await get(f"{prometheus}/api/v1/query?query=up"))["data"]["result"]
            if found:
                return [*found]
            await asyncio.sleep(0.2)


async def test_watch_starts_monitors_the_service_and_ends_all_processes(tmp_path: Path) -> None:
    ports = free_ports(4)
    names = ("--prometheus-port", "--alertmanager-port", "--boards-port", "--console-port")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.watch", "--data-dir", str(tmp_path)),
        *(word for name, port in zip(names, ports, strict=True) for word in (name, str(port))),
        stdout=PIPE,
    )
    try:
        addresses = await printed_addresses(process)
        server = addresses["Prometheus"].removesuffix("/alerts")
        [sample] = await wait_until_scraped(server)
        assert sample["value"][1] == "1"
        assert sample["metric"]["instance"] in addresses["Worker"]
        managers = (await get(f"{server}/api/v1/alertmanagers"))["data"]["activeAlertmanagers"]
        assert [each["url"] for each in managers] == [f"{addresses['Alertmanager']}/api/v2/alerts"]
        found = await get(f"{addresses['Boards']}/places.json")
        assert found["prometheus"] == server
        assert found["console"] == addresses["Console"]
        await wait_until_served(f"{found['console']}/overview")
        for board in found["boards"]:
            assert (await get(f"{addresses['Boards']}/boards/{board}.json"))["uid"] == board
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) > 3
    finally:
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert process.returncode == 0
    _, alive = psutil.wait_procs(children, timeout=10)
    assert alive == []
