"""`make watch`: the service, Prometheus, Alertmanager and the boards, until Ctrl-C."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import click

from deploy.watch.page import serving
from deploy.watch.programs import (
    DEPLOY,
    ProgramError,
    alertmanager,
    prometheus,
    prometheus_configuration,
)

STOP_SECONDS = 30.0
ALERTMANAGER_FILE = DEPLOY / "alertmanager" / "alertmanager.yml"


@click.command()
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, resolve_path=True),
    default=Path("data"),
    show_default="data",
)
@click.option("--prometheus-port", default=9090, show_default=True)
@click.option("--alertmanager-port", default=9093, show_default=True)
@click.option("--boards-port", default=3000, show_default=True)
@click.option("--console-port", default=8090, show_default=True)
@click.option(
    "--worker", "workers", multiple=True, help="Scrape these workers (HOST:PORT); start none."
)
def main(
    *,
    data_dir: Path,
    prometheus_port: int,
    alertmanager_port: int,
    boards_port: int,
    console_port: int,
    workers: tuple[str, ...],
) -> None:
    """Run clipmill with monitoring on one box; all ports are on loopback."""
    ports = (prometheus_port, alertmanager_port, boards_port, console_port)
    try:
        asyncio.run(_watch(data_dir, ports, workers))
    except (ProgramError, OSError) as error:
        raise click.ClickException(str(error)) from None


async def _watch(
    data_dir: Path, ports: tuple[int, int, int, int], workers: tuple[str, ...]
) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    folder = data_dir / "watch"
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    console = f"127.0.0.1:{ports[3]}"
    async with AsyncExitStack() as stack:
        if not workers:
            click.echo("Starting clipmill (the first start downloads Kafka) ...")
            workers = (await stack.enter_async_context(_service(data_dir, console, ended)),)
            click.echo(f"Console       http://{console}")
        manager = await stack.enter_async_context(alertmanager(ALERTMANAGER_FILE, folder, ports[1]))
        configuration = prometheus_configuration(workers, urlsplit(manager).netloc)
        server = await stack.enter_async_context(prometheus(configuration, folder, ports[0]))
        boards = await stack.enter_async_context(serving(server, f"http://{console}", ports[2]))
        click.echo(f"Boards        {boards}")
        click.echo(f"Prometheus    {server}/alerts")
        click.echo(f"Alertmanager  {manager}")
        for worker in workers:
            click.echo(f"Worker        http://{worker}/health/ready")
        click.echo("Ctrl-C stops them.")
        await ended.wait()


@asynccontextmanager
async def _service(data_dir: Path, console: str, ended: asyncio.Event) -> AsyncIterator[str]:
    """Run `clipmill up`; yields HOST:PORT of its metrics, and sets ``ended`` when it exits.

    Args:
        data_dir: of the service.
        console: HOST:PORT that the console listens on.
        ended: set when the service exits.
    """
    child = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("clipmill")),
        "up",
        "--console",
        "--data-dir",
        str(data_dir),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "CLIPMILL_CONSOLE__HTTP": console},
        # Ctrl-C reaches this process alone, which then stops them in order.
        start_new_session=True,
    )
    try:
        assert child.stdout is not None
        line = await child.stdout.readline()
        if not line:
            raise ProgramError("clipmill did not start; its log is above")
        ready = json.loads(line)
        click.echo(f"Kafka         {ready['bootstrap']}")
        waiting = asyncio.create_task(child.wait())
        waiting.add_done_callback(lambda _task: ended.set())
        yield urlsplit(ready["http"]).netloc
        waiting.cancel()
    finally:
        with suppress(ProcessLookupError):
            child.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            await child.wait()


if __name__ == "__main__":
    main()
