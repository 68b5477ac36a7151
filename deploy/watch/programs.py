"""Prometheus and Alertmanager as child processes with the rules of this project."""

import asyncio
import json
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

DEPLOY = Path(__file__).resolve().parents[1]
PROVIDED = Path(sys.prefix) / "prometheus"
"""Directory that `deploy/prometheus/provide.sh` fills."""

RULE_FILES = ("recording.yml", "alerts.yml")
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.1


class ProgramError(Exception):
    """A program is not installed or does not start; the text has the remedy."""


def program(name: str) -> str:
    """Return the path of `prometheus`, `promtool`, `prometheus-alertmanager` or `amtool`.

    Raises:
        ProgramError: it is not installed.
    """
    found = shutil.which(name, path=str(PROVIDED / "bin")) or shutil.which(name)
    if found is None:
        raise ProgramError(f"{name} is not installed; `make .venv/.prometheus` provides it")
    return found


def prometheus_configuration(
    workers: Sequence[str], alertmanager: str | None = None, interval: str = "5s"
) -> dict[str, Any]:
    """Return a configuration of Prometheus.

    Args:
        workers: HOST:PORT of each; the job's name is the one that rules and boards expect.
        alertmanager: HOST:PORT.
        interval: between two scrapes and between two evaluations of the rules.
    """
    managers = [{"static_configs": [{"targets": [alertmanager]}]}] if alertmanager else []
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(DEPLOY / "prometheus" / name) for name in RULE_FILES],
        "alerting": {"alertmanagers": managers},
        "scrape_configs": [{"job_name": "clipmill", "static_configs": [{"targets": [*workers]}]}],
    }


def write_configuration(configuration: Mapping[str, Any], folder: Path) -> Path:
    """Write the file that Prometheus reads at its start and on a reload."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "prometheus.yml"
    # JSON is YAML.
    file.write_text(json.dumps(configuration, indent=1))
    return file


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@asynccontextmanager
async def prometheus(
    configuration: Mapping[str, Any], folder: Path, port: int
) -> AsyncIterator[str]:
    """Run Prometheus in a folder on loopback; yields its URL when it answers.

    Args:
        configuration: what `prometheus_configuration` returned.
        folder: keeps the samples, the configuration and a log.
        port: 0 takes a free one.
    """
    file = write_configuration(configuration, folder)
    address = f"127.0.0.1:{port or _free_port()}"
    command = [
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        # The page with the boards is of another origin.
        r"--web.cors.origin=http://127\.0\.0\.1:\d+",
        "--web.enable-lifecycle",
    ]
    async with _running(command, folder / "prometheus.log", f"http://{address}/-/ready"):
        yield f"http://{address}"


@asynccontextmanager
async def alertmanager(configuration: Path, folder: Path, port: int) -> AsyncIterator[str]:
    """Run Alertmanager on loopback; yields its URL when it answers. Both paths must be absolute."""
    address = f"127.0.0.1:{port or _free_port()}"
    command = [
        program("prometheus-alertmanager"),
        f"--config.file={configuration}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        # Alone: no gossip with others.
        "--cluster.listen-address=",
    ]
    # An unpacked Alertmanager reads its template relative to the working directory.
    directory = PROVIDED if PROVIDED.is_dir() else None
    ready_url = f"http://{address}/-/ready"
    async with _running(command, folder / "alertmanager.log", ready_url, directory):
        yield f"http://{address}"


@asynccontextmanager
async def _running(
    command: Sequence[str], log: Path, ready_url: str, directory: Path | None = None
) -> AsyncIterator[None]:
    with log.open("ab") as output:
        child = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output, cwd=directory
        )
    try:
        await _wait_ready(child, log, ready_url)
        yield
    finally:
        if child.returncode is None:
            child.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await child.wait()
            except TimeoutError:
                child.kill()
                await child.wait()


async def _wait_ready(child: asyncio.subprocess.Process, log: Path, url: str) -> None:
    try:
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as session:
            while child.returncode is None:
                try:
                    async with session.get(url) as answer:
                        if answer.ok:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        pass
    text = await asyncio.to_thread(log.read_text)
    raise ProgramError(f"{url} does not answer:\n{text[-2_000:]}")
